"""What an application does with asyncpg, printed, so that two runs can be compared."""

import asyncio
import datetime
import decimal
import json
import sys

import asyncpg
from psycopg.conninfo import conninfo_to_dict


def options():
    parts = conninfo_to_dict(sys.argv[1])
    return dict(
        host=parts["host"],
        port=int(parts["port"]),
        user=parts["user"],
        password=parts["password"],
        database=parts["dbname"],
    )


OPTIONS = options()


def tell(*what):
    print(*what, flush=True)


async def attempt(what):
    """Awaits something that must fail, and tells how."""
    try:
        await what
    except asyncpg.PostgresError as error:
        tell(type(error).__name__, error.sqlstate, error.message)
    else:
        tell("no error")


async def basics():
    settings = {"application_name": "asyncpg", "search_path": "pg_temp, public", "jit": "off"}
    conn = await asyncpg.connect(**OPTIONS, server_settings=settings)
    tell(*[await conn.fetchval(f"SHOW {name}") for name in settings])
    await conn.execute("CREATE TEMP TABLE t (id int, price numeric, at timestamptz, doc jsonb, list int[])")
    at = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
    await conn.executemany(
        "INSERT INTO t VALUES ($1, $2, $3, $4, $5)",
        [(n, decimal.Decimal(n) / 4, at, json.dumps({"n": n}), [n, None]) for n in range(20)],
    )
    tell([tuple(row) for row in await conn.fetch("SELECT * FROM t ORDER BY id LIMIT 3")])
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    tell(await conn.fetchval("SELECT doc FROM t WHERE id = 7"))
    statement = await conn.prepare("SELECT id, price FROM t WHERE id > $1 ORDER BY id")
    tell([str(attribute.name) for attribute in statement.get_attributes()])
    tell([tuple(row) for row in await statement.fetch(17)])
    await attempt(conn.fetchval("SELECT 1/0"))
    await attempt(conn.execute("SELECT nonsense"))
    async with conn.transaction():
        try:
            async with conn.transaction():
                await conn.execute("DELETE FROM t")
                await conn.execute("SELECT 1/0")
        except asyncpg.DivisionByZeroError:
            tell(await conn.fetchval("SELECT count(*) FROM t"))
        async for row in conn.cursor("SELECT id FROM t ORDER BY id", prefetch=6):
            last = row["id"]
        tell(last)
        cursor = await conn.cursor("SELECT id FROM t ORDER BY id")
        await cursor.forward(5)
        tell(await cursor.fetchrow())
    # A schema changes under a cached statement.
    await conn.fetch("SELECT * FROM t WHERE id = 1")
    await conn.execute("ALTER TABLE t ADD COLUMN more text DEFAULT 'm'")
    tell(tuple(await conn.fetchrow("SELECT * FROM t WHERE id = 1")))
    tell(conn.get_settings().application_name, conn.get_server_version()[:1])
    await conn.close()


async def copies():
    conn = await asyncpg.connect(**OPTIONS)
    await conn.execute("CREATE TEMP TABLE c (n int, t text)")
    tell(await conn.copy_records_to_table("c", records=[(n, f"row {n}") for n in range(3000)]))
    parts = []

    async def take(data):
        parts.append(data)

    tell(await conn.copy_from_query("SELECT * FROM c WHERE n < $1 ORDER BY n", 5, output=take, format="csv"))
    tell(b"".join(parts))

    async def bad():
        for _ in range(100):
            yield b"1\tfine\n" * 100
        yield b"x\tbad\n"

    await attempt(conn.copy_to_table("c", source=bad()))
    tell(await conn.fetchval("SELECT count(*) FROM c"))
    await conn.close()


async def cancels():
    conn = await asyncpg.connect(**OPTIONS)
    for _ in range(5):
        try:
            await conn.fetch("SELECT pg_sleep(600)", timeout=0.1)
        except asyncio.TimeoutError:
            tell("timed out", await conn.fetchval("SELECT 'alive'"))
    task = asyncio.create_task(conn.fetch("SELECT pg_sleep(600)"))
    await asyncio.sleep(0.05)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        tell("cancelled", await conn.fetchval("SELECT 'alive'"))
    await conn.close()


async def notifications():
    ears = await asyncpg.connect(**OPTIONS)
    mouth = await asyncpg.connect(**OPTIONS)
    heard = asyncio.Queue()
    await ears.add_listener("news", lambda conn, pid, channel, payload: heard.put_nowait((channel, payload)))
    for number in range(5):
        await mouth.execute(f"NOTIFY news, '{number}'")
    tell([await asyncio.wait_for(heard.get(), 30) for _ in range(5)])
    await ears.close()
    await mouth.close()


async def pools():
    async with asyncpg.create_pool(**OPTIONS, min_size=2, max_size=5) as pool:

        async def one(tag):
            total = 0
            for _ in range(10):
                async with pool.acquire() as conn:
                    await conn.execute(f"SET my.tag = '{tag}'")
                    rows = await conn.fetch("SELECT $1::int AS tag, current_setting('my.tag') AS own", tag)
                    assert [(row["tag"], row["own"]) for row in rows] == [(tag, str(tag))], rows
                    total += len(rows)
            return total

        tell(sum(await asyncio.gather(*(one(tag) for tag in range(20)))))


async def main():
    await basics()
    await copies()
    await cancels()
    await notifications()
    await pools()


asyncio.run(main())
