#!/usr/bin/python3
"""Lets the three stock players read every recording that the tests made.

    tests/players.py FOLDER

asciinema 2.4 and 3.2 print each file, and both must print exactly what the file says; both play it at a terminal, fast. The web player
plays it in Chromium to the end and must show what asciinema 3.2 says the screen was. One line for each file that somebody cannot read.
"""

import concurrent.futures
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target/tools"
OLD, NEW = TOOLS / "venv/bin/asciinema", TOOLS / "bin/asciinema"
WEB = TOOLS / "players/node_modules/asciinema-player/dist/bundle"
PAGE = ROOT / "tests/players"
CHROMIUM = [
    "--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--no-default-browser-check",
]
# nothing here takes a minute on a machine that is not busy
LIMIT = 300
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", "RUST_BACKTRACE": "0"}


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, env=ENVIRONMENT)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ValueError(f"{pathlib.Path(command[0]).name}: status {done.returncode}: {words[-300:]}")
    return done.stdout


def shown(lines):
    """All that the output events of an asciicast v2 file show."""
    events = (json.loads(line) for line in lines if line.startswith("["))
    return "".join(data for _, code, data in events if code == "o")


def at_a_terminal(program, file):
    run("script", "-qefc", f"stty cols 200 rows 60; exec {program} play -i 0.001 -s 1000 {file}", "/dev/null")


def command_lines(file):
    """Both asciinemas on one file; what went wrong, if something did."""
    wrong = []
    try:
        said = shown(file.read_text(encoding="utf-8").split("\n"))
    except ValueError as error:
        return [f"is no asciicast: {error}"]
    for name, words in (("asciinema 2.4", old), ("asciinema 3.2", new)):
        try:
            if words(file) != said:
                wrong.append(f"{name}: prints something else than the file says")
            at_a_terminal(OLD if words is old else NEW, file)
        except (ValueError, subprocess.TimeoutExpired) as error:
            wrong.append(f"{name}: {error}")
    return wrong


def old(file):
    return run(OLD, "cat", file).decode()


def new(file):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.cast"
        run(NEW, "-q", "convert", "-f", "asciicast-v2", file, out)
        return shown(out.read_text(encoding="utf-8").split("\n"))


class Site(http.server.BaseHTTPRequestHandler):
    """The page, the player, the recordings; takes what the page found."""

    def do_GET(self):
        files = {"/": PAGE / "page.html", "/player.js": WEB / "asciinema-player.min.js", "/player.css": WEB / "asciinema-player.css"}
        if self.path == "/list":
            body, kind = json.dumps([f.name for f in self.server.casts]).encode(), "application/json"
        else:
            file = files.get(self.path) or next((f for f in self.server.casts if self.path == f"/cast/{f.name}"), None)
            if file is None:
                return self.send_error(404)
            kind = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}.get(file.suffix, "text/plain")
            body = file.read_bytes()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        found = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()
        self.server.found.append(found)
        self.server.news.set()

    def log_message(self, *_):
        pass


def in_the_browser(casts):
    """What the web player says of each file: {name: {"error": .., "text": ..}}."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.casts, server.found, server.news = casts, [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = shutil.which("chromium") or "/usr/bin/chromium"
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, tempfile.TemporaryFile() as told:
        url = f"http://127.0.0.1:{server.server_port}/"
        command = [browser, *CHROMIUM, *sandbox, f"--user-data-dir={profile}", url]
        chromium = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=ENVIRONMENT)
        try:
            while len(server.found) < len(casts):
                server.news.clear()
                if len(server.found) < len(casts) and not server.news.wait(LIMIT):
                    told.seek(0)
                    print(told.read().decode(errors="replace")[-3000:])
                    break
        finally:
            chromium.kill()
            chromium.wait()
    server.shutdown()
    return {found["name"]: found for found in server.found}


def bare(text):
    """A screen's text without what lines are broken by, and without what the web player draws instead of writing."""
    return "".join(c for c in text if not c.isspace() and not "\u2500" <= c <= "\u259f" and not "\ue000" <= c <= "\uf8ff" and c != "\ufffd")


def browser_lines(file, found):
    if found is None:
        return ["web player: it never came to the end"]
    if found["error"]:
        return [f"web player: {found['error']}"]
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.txt"
        try:
            run(NEW, "-q", "convert", "-f", "txt", file, out)
        except (ValueError, subprocess.TimeoutExpired) as error:
            return [f"asciinema 3.2, as text: {error}"]
        screen, text = bare(found["text"]), bare(out.read_text(encoding="utf-8"))
    if not text.endswith(screen) or (text and not screen):
        return [f"web player: ends with {screen[-60:]!r}, asciinema 3.2 with {text[-60:]!r}"]
    return []


def main():
    casts = sorted(pathlib.Path(sys.argv[1]).glob("*.cast"))
    if not casts:
        sys.exit(f"no recordings in {sys.argv[1]}: cargo test --test e2e makes them")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = dict(zip(casts, pool.map(command_lines, casts)))
        found = in_the_browser(casts)
        for file, lines in zip(casts, pool.map(lambda file: browser_lines(file, found.get(file.name)), casts)):
            wrong[file] += lines
    for file, lines in wrong.items():
        for line in lines:
            print(f"{file.name}: {line}")
    bad = sum(bool(lines) for lines in wrong.values())
    print(f"{len(casts)} recordings, read by asciinema 2.4, asciinema 3.2 and the web player: {len(casts) - bad}; not: {bad}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
