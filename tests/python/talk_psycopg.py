"""What an application does with psycopg 3, printed, so that two runs can be compared."""

import asyncio
import logging
import sys
import threading

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

CONNINFO = sys.argv[1]

# Whether the driver warns about a pipeline that ends in an error is a matter of time.
logging.getLogger("psycopg").setLevel(logging.ERROR)


def tell(*what):
    print(*what, flush=True)


def attempt(what, *allowed):
    """Runs something that must fail, and tells how."""
    try:
        what()
    except psycopg.Error as error:
        tell(type(error).__name__, error.sqlstate, error.diag.message_primary)
    else:
        tell("no error")


def basics():
    with psycopg.connect(CONNINFO, application_name="psycopg", row_factory=dict_row) as conn:
        notices = []
        conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
        conn.execute("CREATE TEMP TABLE t (id int, doc jsonb, list text[], at timestamptz)")
        conn.execute(
            "INSERT INTO t VALUES (%s, %s, %s, %s)",
            (1, Jsonb({"a": [1, None, "ü"]}), ["x", None, "y,z"], "2024-02-29 12:00Z"),
        )
        tell(conn.execute("SELECT * FROM t").fetchall())
        tell(conn.execute("SELECT * FROM t", binary=True).fetchall())
        conn.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
        tell(notices)
        conn.commit()
        attempt(lambda: conn.execute("SELECT 1/0"))
        attempt(lambda: conn.execute("SELECT 1"))
        conn.rollback()
        with conn.transaction():
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO t (id) VALUES (2)")
                    conn.execute("SELECT nonsense")
            except psycopg.errors.UndefinedColumn as error:
                tell(error.diag.message_primary, error.diag.statement_position)
            conn.execute("INSERT INTO t (id) VALUES (3)")
        tell(conn.execute("SELECT id FROM t ORDER BY id").fetchall())
        info = conn.info
        tell(info.dbname, info.user, info.encoding, info.timezone, info.transaction_status.name)
        tell(info.parameter_status("application_name"), info.parameter_status("integer_datetimes"))
        tell(info.parameter_status("is_superuser"), info.parameter_status("server_version"))
        with conn.cursor() as many:
            many.executemany(
                "INSERT INTO t (id) VALUES (%s) RETURNING id", [(n,) for n in range(10, 15)],
                returning=True,
            )
            tell([row for _ in many.results() for row in many.fetchall()])


def prepared():
    with psycopg.connect(CONNINFO, prepare_threshold=0, autocommit=True) as conn:
        for number in range(200):
            # More than are kept: the driver deallocates the oldest as it goes.
            row = conn.execute(f"SELECT %s::int + {number}", (number,)).fetchone()
            assert row == (2 * number,), row
        tell(conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone())
        tell(conn.execute("SELECT %s::text", ("again",), prepare=True).fetchone())
        conn.execute("DEALLOCATE ALL")
        tell(conn.execute("SELECT %s::text", ("and again",)).fetchone())


def pipelines():
    with psycopg.connect(CONNINFO, autocommit=True) as conn:
        with conn.pipeline() as pipeline:
            cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(300)]
            pipeline.sync()
            tell(sum(cursor.fetchone()[0] for cursor in cursors))
        # An error in the middle: what stands behind it up to the sync is aborted, then it goes on.
        cursors = []
        try:
            with conn.pipeline() as pipeline:
                for number in (1, 2, 0, 3, 4):
                    cursors.append(conn.execute("SELECT 12 / %s::int", (number,)))
                pipeline.sync()
                cursors.append(conn.execute("SELECT 'never fetched'"))
        except psycopg.Error as error:
            tell(type(error).__name__, error.sqlstate)
        # How many of the statements behind it the driver sent before it heard is a matter of time.
        for cursor in cursors[:3]:
            try:
                tell(cursor.fetchone())
            except psycopg.Error as error:
                tell(type(error).__name__, error.sqlstate)
        tell(conn.info.transaction_status.name, conn.execute("SELECT 'alive'").fetchone())
        # Each statement guarded by its own sync.
        with conn.pipeline() as pipeline:
            for number in (1, 0, 2):
                cursor = conn.execute("SELECT 12 / %s::int", (number,))
                try:
                    pipeline.sync()
                    tell(cursor.fetchone())
                except psycopg.Error as error:
                    tell(type(error).__name__, error.sqlstate)
        tell(conn.execute("SELECT 'still alive'").fetchone())


def copies():
    with psycopg.connect(CONNINFO) as conn:
        cursor = conn.cursor()
        cursor.execute("CREATE TEMP TABLE c (n int, t text)")
        with cursor.copy("COPY c FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((number, None if number % 3 == 0 else f"row\t{number}\\"))
        tell(cursor.rowcount)
        with cursor.copy("COPY c TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            rows = list(copy.rows())
        tell(len(rows), rows[:3], rows[-1])
        conn.commit()

        def bad():
            with cursor.copy("COPY c FROM STDIN") as copy:
                copy.write("1\tfine\nx\tbad\n" * 3000)

        attempt(bad)
        conn.rollback()

        class GivenUp(Exception):
            pass

        try:
            with cursor.copy("COPY c FROM STDIN") as copy:
                copy.write("5\tnever\n")
                raise GivenUp
        except GivenUp:
            tell("given up", conn.info.transaction_status.name)
        conn.rollback()
        # Left before its end: the driver cancels.
        try:
            with cursor.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
                tell(bytes(copy.read()))
                raise GivenUp
        except GivenUp:
            tell("given up", conn.info.transaction_status.name)
        conn.rollback()
        tell(conn.execute("SELECT count(*) FROM c").fetchone())


def cursors():
    with psycopg.connect(CONNINFO) as conn:
        with conn.cursor(name="server_side") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT generate_series(1, 50)")
            tell(sum(n for (n,) in cursor))
        with conn.cursor("scrolling", scrollable=True, withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 9)")
            cursor.scroll(4)
            tell(cursor.fetchmany(2))
            conn.commit()
            tell(cursor.fetchone())
        cursor = conn.cursor()
        tell(sum(row[0] for row in cursor.stream("SELECT generate_series(1, 1000)")))
        tell(conn.execute("SELECT 'alive'").fetchone())


def cancels():
    with psycopg.connect(CONNINFO, autocommit=True) as conn, psycopg.connect(CONNINFO, autocommit=True) as watch:
        for cancel in (conn.cancel, conn.cancel_safe):

            def strike():
                asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                while watch.execute(asleep).fetchone() == (0,):
                    pass
                cancel()

            striker = threading.Thread(target=strike)
            striker.start()
            attempt(lambda: conn.execute("SELECT pg_sleep(600)"))
            striker.join()
            # One that has nothing to cancel.
            cancel()
            tell(conn.execute("SELECT 'alive'").fetchone())


def notifications():
    with psycopg.connect(CONNINFO, autocommit=True) as ears, psycopg.connect(CONNINFO, autocommit=True) as mouth:
        ears.execute("LISTEN news")
        for number in range(5):
            mouth.execute("SELECT pg_notify('news', %s)", (f"item {number}",))
        # The listener waits without asking for anything.
        heard = [note.payload for note in ears.notifies(timeout=30, stop_after=5)]
        tell(heard)


def people_type_names():
    with psycopg.connect(CONNINFO) as conn:
        name = 'a "strange" näme'
        conn.execute(sql.SQL("CREATE TEMP TABLE {} ({} int)").format(sql.Identifier(name), sql.Identifier("ü")))
        cursor = conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
        tell([column.name for column in cursor.description])
        conn.execute("SET client_encoding = 'LATIN1'")
        tell(conn.info.encoding, conn.execute("SELECT 'é' || chr(252)").fetchone())


async def concurrently():
    async def one(tag):
        async with await psycopg.AsyncConnection.connect(CONNINFO) as conn:
            total = 0
            for _ in range(5):
                cursor = await conn.execute("SELECT %s::int, generate_series(1, 20)", (tag,))
                rows = await cursor.fetchall()
                assert all(row[0] == tag for row in rows), rows
                total += len(rows)
            return total

    tell(sum(await asyncio.gather(*(one(tag) for tag in range(15)))))


basics()
prepared()
pipelines()
copies()
cursors()
cancels()
notifications()
people_type_names()
asyncio.run(concurrently())
