"""psycopg 3 against a server named by PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.

psycopg 3 does not ship its tests with its sdist. These are ours; they go through what the driver can do
with a server: logins and their errors, startup parameters, protocols, results of every kind, COPY,
pipelines, cancel requests, notifications, two-phase commit, large objects, and connections that end.
"""

import asyncio
import datetime
import decimal
import ipaddress
import threading
import time
import uuid

import psycopg
import psycopg_pool
import pytest
from psycopg import pq, sql
from psycopg.types.json import Jsonb


@pytest.fixture
def conn():
    # Whatever a test that failed has left locked must not hold up those that follow.
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        yield connection


@pytest.fixture
def table(conn):
    conn.execute("DROP TABLE IF EXISTS things")
    conn.execute("CREATE TABLE things (id int PRIMARY KEY, name text)")
    yield "things"
    if not conn.closed:
        conn.execute("DROP TABLE IF EXISTS things")


# === logins ===

@pytest.mark.parametrize("words, code, message", [
    ({"dbname": "nowhere"}, "3D000", 'database "nowhere" does not exist'),
    ({"password": "wrong"}, "28P01", 'password authentication failed for user "postgres"'),
    ({"user": "nobody_here", "password": "x"}, "28P01",
     'password authentication failed for user "nobody_here"'),
    ({"options": "-c no_such_setting=1"}, "42704",
     'unrecognized configuration parameter "no_such_setting"'),
    ({"options": "-c work_mem=lots"}, "22023", 'invalid value for parameter "work_mem": "lots"'),
    ({"options": "-z"}, None, "invalid"),
    ({"client_encoding": "klingon"}, "22023", 'invalid value for parameter "client_encoding": "klingon"'),
])
def test_refused_login(words, code, message):
    with pytest.raises(psycopg.OperationalError) as refusal:
        psycopg.connect(**words)
    # libpq gives no SQLSTATE of a failed connection; it shows in verbose messages only.
    assert message in str(refusal.value)
    assert "FATAL" in str(refusal.value)


@pytest.mark.parametrize("name, value, shown", [
    ("application_name", "a test", "a test"),
    ("client_encoding", "LATIN1", "LATIN1"),
    ("options", "-c work_mem=77MB", None),
    ("options", "-c DateStyle=German -c IntervalStyle=iso_8601", None),
    ("options", r'-c search_path="a\ b",public', None),
    ("options", "--statement-timeout=5s", None),
    ("options", "-c extra.thing=1", None),
])
def test_startup_parameter(name, value, shown):
    with psycopg.connect(**{name: value}) as conn:
        if shown:
            assert conn.execute(f"SHOW {name}").fetchone() == (shown,)
            assert conn.info.parameter_status(name) == shown
        asked = {"work_mem": "77MB", "DateStyle": "German, DMY", "IntervalStyle": "iso_8601",
                 "search_path": '"a b",public', "statement_timeout": "5s", "extra.thing": "1"}
        for setting, wanted in asked.items():
            if setting in value or setting.replace("_", "-") in value:
                assert conn.execute(f"SHOW {setting}").fetchone() == (wanted,)


def test_startup_settings_are_what_reset_returns_to(conn):
    with psycopg.connect(options="-c work_mem=77MB", autocommit=True) as other:
        other.execute("SET work_mem = '1MB'")
        other.execute("RESET work_mem")
        assert other.execute("SHOW work_mem").fetchone() == ("77MB",)
        other.execute("SET work_mem = '1MB'")
        other.execute("DISCARD ALL")
        assert other.execute("SHOW work_mem").fetchone() == ("77MB",)
    assert conn.execute("SHOW work_mem").fetchone() == ("4MB",)


@pytest.mark.parametrize("name", [
    "server_version", "server_encoding", "client_encoding", "application_name", "DateStyle",
    "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "is_superuser",
    "session_authorization", "in_hot_standby", "default_transaction_read_only",
])
def test_reported_parameter(conn, name):
    assert conn.info.parameter_status(name) == conn.execute(
        "SELECT current_setting(%s)", [name]).fetchone()[0]


@pytest.mark.parametrize("bounds", [
    {}, {"max_protocol_version": "3.0"}, {"max_protocol_version": "latest"},
    {"min_protocol_version": "3.2", "max_protocol_version": "3.2"},
])
def test_protocol_version(bounds):
    if pq.version() < 180000 and bounds:
        pytest.skip("libpq 18 has these")
    with psycopg.connect(**bounds) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("name, value", [("target_session_attrs", value) for value in (
    "any", "read-write", "primary", "prefer-standby")] + [("sslmode", "prefer"), ("gssencmode", "prefer"),
    ("channel_binding", "prefer"), ("keepalives", "0"), ("require_auth", "scram-sha-256")])
def test_connection_option(name, value):
    with psycopg.connect(**{name: value}) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("name, value", [
    ("target_session_attrs", "standby"), ("target_session_attrs", "read-only"), ("sslmode", "require"),
    ("gssencmode", "require"), ("channel_binding", "require"), ("require_auth", "md5"),
])
def test_connection_option_that_cannot_be_had(name, value):
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**{name: value})


def test_ping():
    assert pq.PGconn.ping(b"") == pq.Ping.OK
    assert pq.PGconn.ping(b"dbname=nowhere") == pq.Ping.OK


def test_backend_pid(conn):
    assert conn.info.backend_pid == conn.execute("SELECT pg_backend_pid()").fetchone()[0]


def test_addresses(conn):
    host, port = conn.execute("SELECT inet_server_addr()::text, inet_server_port()").fetchone()
    assert host.startswith("127.0.0.1")
    assert port == conn.info.port


# === results ===

@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("value", [
    None, True, 0, -1, 2**40, 2**70, 1.5, float("inf"), decimal.Decimal("1.23456789012345678901"), "",
    "\u00e9\u20ac\U0001f600", "x" * 1_000_000, b"", b"\x00\xff" * 1000, datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5), datetime.timedelta(days=-3, microseconds=7),
    uuid.UUID(int=5), ipaddress.ip_network("10.0.0.0/8"), [1, 2, None], [[1], [2]],
], ids=lambda value: repr(value)[:30])
def test_round_trip(conn, value, binary):
    got = conn.execute("SELECT %s", [value], binary=binary).fetchone()[0]
    assert got == value


def test_json(conn):
    assert conn.execute("SELECT %s", [Jsonb({"a": [1, None]})]).fetchone() == ({"a": [1, None]},)


def test_several_results_of_one_query(conn):
    cursor = conn.execute("SELECT 1; SELECT 2, 3; SELECT 4 WHERE false")
    assert cursor.fetchall() == [(1,)]
    assert cursor.nextset() and cursor.fetchall() == [(2, 3)]
    assert cursor.nextset() and cursor.fetchall() == []
    assert not cursor.nextset()


def test_empty_query(conn):
    assert conn.execute("").pgresult.status == pq.ExecStatus.EMPTY_QUERY


def test_many_rows(conn):
    assert sum(row[0] for row in conn.execute("SELECT generate_series(1, 200000)")) == 20000100000


def test_stream(conn):
    assert sum(row[0] for row in conn.cursor().stream("SELECT generate_series(1, 10000)")) == 50005000


def test_server_cursor(conn):
    with conn.transaction(), conn.cursor("walker", scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        assert cursor.fetchmany(2) == [(1,), (2,)]
        cursor.scroll(10)
        assert cursor.fetchone() == (13,)
        cursor.scroll(-3)
        assert cursor.fetchone() == (11,)


def test_cursor_with_hold(conn):
    with conn.cursor("holder", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        conn.execute("SELECT 1")
        assert len(cursor.fetchall()) == 10


def test_prepared_statements(conn):
    conn.prepare_threshold = 0
    for number in range(120):
        assert conn.execute(f"SELECT %s::int + {number}", [1]).fetchone() == (number + 1,)
    assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] > 0
    conn.execute("DEALLOCATE ALL")


def test_prepared_statement_of_a_changed_table(conn, table):
    conn.execute("PREPARE reader AS SELECT * FROM things")
    conn.execute("ALTER TABLE things ADD more int")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        conn.execute("EXECUTE reader")


def test_execute_many(conn, table):
    cursor = conn.cursor()
    cursor.executemany("INSERT INTO things VALUES (%s, %s) RETURNING id",
                       [(number, str(number)) for number in range(500)], returning=True)
    assert cursor.fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (500,)


def test_error_fields(conn, table):
    conn.execute("INSERT INTO things VALUES (1)")
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        conn.execute("INSERT INTO things VALUES (1)")
    diag = error.value.diag
    assert (diag.sqlstate, diag.severity, diag.table_name, diag.constraint_name, diag.source_function) == (
        "23505", "ERROR", "things", "things_pkey", "_bt_check_unique")
    assert diag.message_detail == "Key (id)=(1) already exists."
    with pytest.raises(psycopg.errors.UndefinedColumn) as error:
        conn.execute("SELECT nothing FROM things")
    assert error.value.diag.statement_position == "8"


def test_notices(conn):
    heard = []
    conn.add_notice_handler(lambda diag: heard.append((diag.severity, diag.message_primary)))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
    assert heard == [("NOTICE", "one"), ("WARNING", "two")]


def test_encoding(conn):
    conn.execute("SET client_encoding TO 'LATIN1'")
    assert conn.info.encoding == "iso8859-1"
    assert conn.execute("SELECT chr(233)").fetchone() == ("\u00e9",)
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        conn.execute("SELECT chr(8364)")
    conn.execute("RESET client_encoding")
    assert conn.info.encoding == "utf-8"


def test_function_call_by_oid(conn):
    # A large object speaks the function-call protocol in libpq; the driver has SQL only.
    oid = conn.execute("SELECT lo_from_bytea(0, %s)", [b"abc" * 10000]).fetchone()[0]
    assert conn.execute("SELECT lo_get(%s)", [oid]).fetchone()[0] == b"abc" * 10000
    conn.execute("SELECT lo_unlink(%s)", [oid])


# === transactions ===

def test_transaction_status():
    with psycopg.connect() as conn:
        status = pq.TransactionStatus
        assert conn.info.transaction_status == status.IDLE
        conn.execute("SELECT 1")
        assert conn.info.transaction_status == status.INTRANS
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
        assert conn.info.transaction_status == status.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            conn.execute("SELECT 1")
        conn.rollback()
        assert conn.info.transaction_status == status.IDLE


def test_savepoints(conn, table):
    with conn.transaction():
        conn.execute("INSERT INTO things VALUES (1)")
        with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
            conn.execute("INSERT INTO things VALUES (1)")
        conn.execute("INSERT INTO things VALUES (2)")
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (2,)


@pytest.mark.parametrize("level", list(psycopg.IsolationLevel))
def test_isolation_level(level):
    with psycopg.connect() as conn:
        conn.isolation_level = level
        conn.read_only = True
        assert conn.execute("SHOW transaction_isolation").fetchone()[0].replace(
            " ", "_").upper() == level.name
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("CREATE TABLE refused ()")


def test_serialization_failure(table):
    with psycopg.connect() as one, psycopg.connect() as two:
        one.isolation_level = two.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        for number, conn in enumerate((one, two)):
            conn.execute("SELECT count(*) FROM things")
            conn.execute("INSERT INTO things VALUES (%s)", [number])
        one.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            two.commit()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_two_phase_commit(conn, table, end):
    first = psycopg.connect()
    first.tpc_begin(first.xid(1, f"global {end}", "branch"))
    first.execute("INSERT INTO things VALUES (1)")
    first.tpc_prepare()
    first.close()
    with psycopg.connect() as second:
        [found] = [xid for xid in second.tpc_recover() if xid.gtrid == f"global {end}"]
        second.rollback()
        getattr(second, f"tpc_{end}")(found)
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (int(end == "commit"),)


# === COPY ===

@pytest.mark.parametrize("form", ["TEXT", "CSV", "BINARY"])
def test_copy_both_ways(conn, table, form):
    rows = [(number, f"name\t{number}\n\\") for number in range(20000)]
    with conn.cursor().copy(f"COPY things FROM STDIN (FORMAT {form})") as copy:
        if form == "CSV":
            for number, name in rows:
                copy.write(f'{number},"{name}"\n')
        else:
            if form == "BINARY":
                copy.set_types(["int4", "text"])
            for row in rows:
                copy.write_row(row)
    assert conn.execute("SELECT id, name FROM things ORDER BY id").fetchall() == rows
    with conn.cursor().copy(f"COPY things TO STDOUT (FORMAT {form})") as copy:
        assert len(b"".join(copy)) > 200000


def test_copy_that_the_server_refuses(conn, table):
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        with conn.cursor().copy("COPY things FROM STDIN") as copy:
            for _ in range(1000):
                copy.write("not a number\tx\n")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_copy_that_the_client_gives_up(conn, table):
    with pytest.raises(ZeroDivisionError):
        with conn.cursor().copy("COPY things FROM STDIN") as copy:
            copy.write("1\tx\n")
            raise ZeroDivisionError
    assert conn.info.transaction_status == pq.TransactionStatus.IDLE
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (0,)


# === pipelines ===

def test_pipeline(conn, table):
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", [number]) for number in range(300)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(300))


def test_pipeline_with_an_error(conn, table):
    with pytest.raises(psycopg.errors.UniqueViolation):
        with conn.pipeline():
            for number in (1, 2, 1, 3):
                conn.execute("INSERT INTO things VALUES (%s)", [number])
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (0,)


def test_pipeline_goes_on_after_a_sync(conn, table):
    with conn.pipeline() as pipeline:
        conn.execute("INSERT INTO things VALUES (1)")
        pipeline.sync()
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO things VALUES (1)")
            pipeline.sync()
        conn.execute("INSERT INTO things VALUES (2)")
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (2,)


def test_pipeline_of_much_data(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT repeat(%s, 1000)", ["x" * 100]) for _ in range(100)]
        assert all(len(cursor.fetchone()[0]) == 100000 for cursor in cursors)


def test_pipeline_flush_without_sync(conn):
    pgconn = conn.pgconn
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(b"SELECT 1", [])
    pgconn.send_flush_request()
    pgconn.flush()
    assert pgconn.get_result().get_value(0, 0) == b"1"
    assert pgconn.get_result() is None
    pgconn.pipeline_sync()
    pgconn.flush()
    assert pgconn.get_result().status == pq.ExecStatus.PIPELINE_SYNC
    pgconn.exit_pipeline_mode()


# === cancel requests ===

@pytest.mark.parametrize("method", ["cancel", "cancel_safe"])
def test_cancel(conn, method):
    timer = threading.Timer(0.3, getattr(conn, method))
    timer.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute("SELECT pg_sleep(20)")
    assert time.monotonic() - started < 10
    timer.join()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_cancel_of_nothing(conn):
    conn.cancel_safe()
    conn.cancel_safe()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_statement_timeout(conn):
    conn.execute("SET statement_timeout = '100ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute("SELECT pg_sleep(20)")


# === notifications ===

def test_notification(conn):
    conn.execute("LISTEN news")
    with psycopg.connect(autocommit=True) as other:
        other.execute("NOTIFY news, 'one'; NOTIFY news, 'two'")
    got = list(conn.notifies(timeout=5, stop_after=2))
    assert [(notify.channel, notify.payload) for notify in got] == [("news", "one"), ("news", "two")]
    conn.execute("UNLISTEN *")


def test_notification_from_oneself_has_its_own_pid(conn):
    conn.execute("LISTEN news")
    conn.execute("NOTIFY news")
    [got] = conn.notifies(timeout=5, stop_after=1)
    assert got.pid == conn.info.backend_pid


# === the end of connections ===

def test_termination_from_inside(conn):
    with pytest.raises(psycopg.errors.AdminShutdown):
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert conn.closed and conn.broken


def test_termination_from_outside(conn):
    with psycopg.connect(autocommit=True) as other:
        pid = other.execute("SELECT pg_backend_pid()").fetchone()[0]
        conn.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
        assert other.closed


def test_termination_by_the_pid_told_at_login(conn):
    with psycopg.connect(autocommit=True) as other:
        other.execute("SELECT 1")
        conn.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_session_timeout(conn):
    conn.execute("SET idle_session_timeout = '100ms'")
    time.sleep(0.5)
    with pytest.raises(psycopg.OperationalError) as ended:
        conn.execute("SELECT 1")
    assert "idle-session timeout" in str(ended.value)


def test_reset(conn):
    conn.pgconn.exec_(b"SET work_mem = '1MB'")
    conn.pgconn.reset()
    assert conn.pgconn.exec_(b"SHOW work_mem").get_value(0, 0) == b"4MB"


def test_nothing_is_left_for_the_next():
    with psycopg.connect(autocommit=True) as conn:
        conn.execute("SET work_mem = '1MB'; CREATE TEMPORARY TABLE leftover (); PREPARE leftover AS SELECT 1; "
                     "LISTEN leftover; SELECT pg_advisory_lock(5); SET ROLE pg_monitor")
    for _ in range(5):
        with psycopg.connect(autocommit=True) as conn:
            assert conn.execute("SHOW work_mem").fetchone() == ("4MB",)
            assert conn.execute("SELECT to_regclass('leftover')").fetchone() == (None,)
            assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert conn.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
            assert conn.execute("SELECT current_user").fetchone() == ("postgres",)
    with psycopg.connect(autocommit=True) as conn:
        assert conn.execute("SELECT pg_try_advisory_lock(5)").fetchone() == (True,)


def test_database_can_be_dropped_after_its_last_client(conn):
    conn.execute("CREATE DATABASE brief")
    with psycopg.connect(dbname="brief") as other:
        other.execute("SELECT 1")
    conn.execute("DROP DATABASE brief")


def test_database_can_be_dropped_by_force(conn):
    conn.execute("CREATE DATABASE brief_too")
    with psycopg.connect(dbname="brief_too") as other:
        other.execute("SELECT 1")
    conn.execute("DROP DATABASE brief_too WITH (FORCE)")


# === others ===

def test_pool():
    with psycopg_pool.ConnectionPool(min_size=4, max_size=8, open=True) as pool:
        def work():
            for number in range(50):
                with pool.connection() as conn:
                    assert conn.execute("SELECT %s::int", [number]).fetchone() == (number,)
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_async_connections():
    async def one(number):
        async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
            cursor = await conn.execute("SELECT %s::int, pg_sleep(0.05)", [number])
            return (await cursor.fetchone())[0]

    async def all_of_them():
        return await asyncio.gather(*(one(number) for number in range(40)))

    assert asyncio.run(all_of_them()) == list(range(40))


def test_composed_names(conn):
    name = 'a "strange" näme'
    conn.execute(sql.SQL("CREATE TABLE {} (x int)").format(sql.Identifier(name)))
    assert conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))).fetchall() == []
    conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


def test_types_of_the_catalogue(conn):
    conn.execute("DROP TYPE IF EXISTS mood")
    conn.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    info = psycopg.types.enum.EnumInfo.fetch(conn, "mood")
    assert list(info.labels) == ["sad", "glad"]
    conn.execute("DROP TYPE mood")
