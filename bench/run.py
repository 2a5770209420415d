#!/usr/bin/env python3
"""What a hop costs: understudy beside direct PostgreSQL and PgBouncer in session mode.

Runs are interleaved, so that a change in the machine's speed touches all alike; quoted are medians, and
ratios of the same round. The cost of a proxy is the CPU time of its process (user and system, from /proc).
Needs pgbench, pgbouncer and strace; `make bench` installs them. Prints Markdown tables.
"""

import argparse, asyncio, os, platform, re, resource, shutil, signal, socket, statistics, struct, subprocess
import sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/understudy"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def wait_for(what, condition, limit=60):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what} did not happen within {limit} s")
        time.sleep(0.05)


def accepts(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    """One node, understudy and PgBouncer in front of it, each with one worker thread."""

    def __init__(self, folder, workers):
        self.folder = Path(folder)
        os.chmod(folder, 0o755)
        lab = self.folder / "lab"
        self.lab_dir, lab_port = lab, free_port()
        subprocess.run(
            [BINARY, "lab", "up", "--nodes", "1", "--dir", lab, "--port", str(lab_port), "--detach"],
            check=True, stdout=subprocess.DEVNULL,
        )
        config = (lab / "understudy.toml").read_text()
        self.node_port = int(re.search(r"^port = (\d+)", config, re.M)[1])
        line = (lab / "pgpass").read_text().splitlines()[0]
        self.password = line.rsplit(":", 1)[1]
        self.ports = {"direct": self.node_port, "understudy": free_port(), "pgbouncer": free_port()}
        self.pids = {}
        self.processes = []
        self.start_understudy(config, workers)
        self.start_pgbouncer()

    def start_understudy(self, config, workers):
        config = re.sub(r'addresses = .*', f'addresses = ["127.0.0.1:{self.ports["understudy"]}"]', config)
        # As PgBouncer has it: the verifier in a file, and no node to ask at each login.
        users = self.folder / "users"
        users.write_text(f'"app" "{self.verifier()}"\n')
        config = re.sub(r"^query = .*", f'users_file = "{users}"', config, flags=re.M)
        file = self.folder / "understudy.toml"
        file.write_text(config)
        log = open(self.folder / "understudy.log", "w")
        process = subprocess.Popen(
            [BINARY, "run", "--config", file, "--set", f"process.workers={workers}", "--log-level", "warning"],
            stdout=log, stderr=log,
        )
        self.processes.append(process)
        self.pids["understudy"] = process.pid
        wait_for("understudy's start", lambda: accepts(self.ports["understudy"]))

    def start_pgbouncer(self):
        folder = self.folder / "pgbouncer"
        folder.mkdir()
        users = folder / "users"
        # The same verifier that understudy looks up: with the password PgBouncer would derive the keys anew
        # for every login.
        users.write_text(f'"app" "{self.verifier()}"\n')
        ini = folder / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\napp = host=127.0.0.1 port={self.node_port} dbname=app\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.ports['pgbouncer']}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = session\ndefault_pool_size = 90\n"
            f"max_client_conn = 10000\nlogfile = {folder}/log\npidfile = {folder}/pid\n"
            "log_connections = 0\nlog_disconnections = 0\nserver_reset_query = DISCARD ALL\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        command = ["pgbouncer", "-q", str(ini)]
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        process = subprocess.Popen(command, preexec_fn=limit, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        self.pids["pgbouncer"] = process.pid
        wait_for("pgbouncer's start", lambda: accepts(self.ports["pgbouncer"]))

    def verifier(self):
        config = (self.lab_dir / "understudy.toml").read_text()
        password = Path(re.search(r'^password_file = "(.*)"', config, re.M)[1]).read_text().strip()
        out = subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(self.node_port), "-U", "understudy", "-d", "postgres", "-XAtc",
             "SELECT secret FROM understudy.user_lookup('app')"],
            env={**os.environ, "PGPASSWORD": password}, check=True, capture_output=True, text=True,
        )
        return out.stdout.strip()

    def pgbench(self, who, *arguments, check=True):
        env = {**os.environ, "PGPASSWORD": self.password}
        command = ["pgbench", "-h", "127.0.0.1", "-p", str(self.ports[who]), "-U", "app", "-n", *arguments, "app"]
        out = subprocess.run(command, env=env, capture_output=True, text=True)
        if check and out.returncode != 0:
            sys.exit(f"pgbench against {who} failed:\n{out.stderr}")
        done = re.search(r"actually processed: (\d+)", out.stdout)
        tps = re.search(r"tps = ([\d.]+)", out.stdout)
        return int(done[1]), float(tps[1])

    def cost(self, who, *arguments):
        """CPU microseconds of the proxy per transaction, and transactions per second."""
        before = cpu_seconds(self.pids[who]) if who in self.pids else 0
        done, tps = self.pgbench(who, *arguments)
        used = cpu_seconds(self.pids[who]) - before if who in self.pids else 0
        return used / done * 1e6, tps

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)
        subprocess.run([BINARY, "lab", "down", "--dir", self.lab_dir], stdout=subprocess.DEVNULL)


def compare(bench, options, title, *arguments):
    """Interleaved rounds of direct, PgBouncer and understudy; one table row."""
    rounds = options.rounds
    if options.only not in title:
        return
    rows = {who: [] for who in bench.ports}
    for _ in range(rounds):
        for who in rows:
            rows[who].append(bench.cost(who, *arguments))
    cpu = {who: statistics.median(cost for cost, _ in row) for who, row in rows.items()}
    tps = {who: statistics.median(tps for _, tps in row) for who, row in rows.items()}
    ratio = statistics.median(
        ours / theirs for (ours, _), (theirs, _) in zip(rows["understudy"], rows["pgbouncer"]) if theirs
    )
    print(
        f"| {title} | {cpu['pgbouncer']:.1f} | {cpu['understudy']:.1f} | **{ratio:.2f}** "
        f"| {tps['direct']:.0f} | {tps['pgbouncer']:.0f} | {tps['understudy']:.0f} |", flush=True,
    )


def system_calls(bench, who):
    """System calls per simple query at one client, and receives that failed."""
    client = subprocess.Popen(
        ["pgbench", "-h", "127.0.0.1", "-p", str(bench.ports[who]), "-U", "app", "-n", "-S", "-T", "4", "app"],
        env={**os.environ, "PGPASSWORD": bench.password}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(1)
    report = bench.folder / f"strace-{who}"
    subprocess.run(
        ["timeout", "-s", "INT", "2", "strace", "-f", "-c", "-o", report, "-p", str(bench.pids[who])],
        stderr=subprocess.DEVNULL,
    )
    client.wait()
    calls, failed = {}, 0
    for line in report.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[0][0].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
            if fields[-1].startswith("recv") and len(fields) == 6:
                failed = int(fields[4])
    sends = sum(count for name, count in calls.items() if name.startswith("send"))
    queries = sends / 2
    return sum(calls.values()) / queries, failed


async def idle_clients(bench, who, count):
    """Resident kilobytes per idle client, after each has logged in."""
    import asyncpg  # in the virtual environment that scripts/setup makes

    pid = bench.pids[who]
    first = await asyncpg.connect(
        host="127.0.0.1", port=bench.ports[who], user="app", database="app", password=bench.password, ssl=False
    )
    before = resident_kb(pid)
    gate = asyncio.Semaphore(20)

    async def connect():
        async with gate:
            return await raw_login(bench.ports[who], bench.password)

    clients = await asyncio.gather(*(connect() for _ in range(count)))
    per_client = (resident_kb(pid) - before) / count
    for _, writer in clients:
        writer.close()
    await first.close()
    return per_client


async def raw_login(port, password):
    """Logs in by SCRAM-SHA-256 (RFC 7677) with as little memory of its own as possible."""
    import base64, hashlib, hmac

    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    body = struct.pack("!I", 3 << 16) + b"user\0app\0database\0app\0\0"
    writer.write(struct.pack("!I", len(body) + 4) + body)

    async def message():
        tag, length = struct.unpack("!cI", await reader.readexactly(5))
        return tag, await reader.readexactly(length - 4)

    def answer(data, first=False):
        if first:
            data = b"SCRAM-SHA-256\0" + struct.pack("!I", len(data)) + data
        writer.write(b"p" + struct.pack("!I", len(data) + 4) + data)

    await message()
    nonce = base64.b64encode(os.urandom(18))
    bare = b"n=,r=" + nonce
    answer(b"n,," + bare, first=True)
    _, body = await message()
    server_first = body[4:]
    parts = dict(part.split(b"=", 1) for part in server_first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts[b"s"]), int(parts[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without = b"c=biws,r=" + parts[b"r"]
    signed = hmac.digest(hashlib.sha256(client_key).digest(), b",".join((bare, server_first, without)), "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signed))
    answer(without + b",p=" + base64.b64encode(proof))
    while (await message())[0] != b"Z":
        pass
    return reader, writer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--transactions", type=int, default=3000, help="per client and round")
    parser.add_argument("--workers", type=int, default=1, help="understudy's threads; PgBouncer has one")
    parser.add_argument("--only", default="", help="only the table rows that contain this text")
    parser.add_argument("--clients", type=int, default=5000, help="idle clients for the memory figure")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))

    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        bench = Bench(folder, options.workers)
        try:
            measure(bench, options)
        finally:
            bench.stop()


def measure(bench, options):
    version = lambda command: subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    print(f"{os.cpu_count()} cores, Linux {platform.release()}; {version(['pgbench', '--version'])}; "
          f"{version(['pgbouncer', '--version'])}; {version([BINARY, '--version'])} "
          f"with {options.workers} worker(s); load average {os.getloadavg()[0]:.1f} at the start\n")
    subprocess.run(
        ["pgbench", "-h", "127.0.0.1", "-p", str(bench.node_port), "-U", "app", "-i", "-q", "-s", "10", "app"],
        env={**os.environ, "PGPASSWORD": bench.password}, check=True, capture_output=True,
    )

    print("| select-only pgbench | CPU us/tx PgBouncer | CPU us/tx understudy | ratio | tps direct | tps PgBouncer | tps understudy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    count = str(options.transactions)
    for clients in ("1", "8", "32"):
        for mode in ("simple", "extended", "prepared"):
            compare(bench, options, f"{mode}, {clients} clients",
                    "-S", "-M", mode, "-c", clients, "-t", str(options.transactions * 8 // int(clients)))
    script = bench.folder / "large.sql"
    script.write_text("SELECT repeat('x', 100) FROM generate_series(1, 10000);\n")
    compare(bench, options, "10,000 rows of 100 bytes, 4 clients", "-f", str(script), "-c", "4", "-t", "50")
    compare(bench, options, "login, one query, logout (SCRAM), 8 clients", "-S", "-C", "-c", "8", "-t", "40")

    print("\n| | PgBouncer | understudy |\n| --- | --- | --- |")
    calls = {who: system_calls(bench, who) for who in bench.pids}
    print(f"| system calls per simple query, 1 client | {calls['pgbouncer'][0]:.2f} | {calls['understudy'][0]:.2f} |")
    print(f"| receives that failed | {calls['pgbouncer'][1]} | {calls['understudy'][1]} |")
    memory = {who: asyncio.run(idle_clients(bench, who, options.clients)) for who in bench.pids}
    print(f"| kB resident per idle client, {options.clients} clients | {memory['pgbouncer']:.2f} | {memory['understudy']:.2f} |")


if __name__ == "__main__":
    main()
