"""Aravis' GigE camera simulator through the daemon to a recording and the live page, alone on loopback.

gige_daemon.py PROGRAM CONFIGURATION URL [SIMULATOR-OPTION ...]
Run it in a network namespace of its own. Unplugs the camera once and plugs it in again.
"""

import json
import subprocess
import sys
import time
import urllib.request

program, configuration, url, *options = sys.argv[1:]


def plug_in():
    simulator = ["arv-fake-gv-camera-0.8", "--interface", "127.0.0.1", *options]
    return subprocess.Popen(simulator, stdout=subprocess.DEVNULL)


def wait_for(what, is_so):
    deadline = time.monotonic() + 40
    status = None
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/api/status", timeout=5) as reply:
                status = json.load(reply)["streams"][0]
            if is_so(status):
                return status
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{what}: {status}")


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
camera = plug_in()
daemon = subprocess.Popen([program, "serve", "--config", configuration, "--json"], stdout=subprocess.PIPE)
try:
    wait_for("recorded frames", lambda status: status["ledger"]["recorded"] > 30)
    camera.kill()
    camera.wait()
    unplugged = time.monotonic()
    wait_for("a stall", lambda status: status["live"] == "stalled")
    stalled_after_s = time.monotonic() - unplugged
    wait_for("the device gone", lambda status: status["device"] in ("gone", "connecting", "stalled"))
    camera = plug_in()
    back = wait_for("the device back", lambda status: status["live"] == "live" and status["ledger"]["opened"] > 1)
    before = back["ledger"]["recorded"]
    status = wait_for("further frames", lambda status: status["ledger"]["recorded"] > before + 20)
    daemon.terminate()
    report = json.loads(daemon.communicate(timeout=30)[0])
finally:
    camera.kill()
    daemon.kill()
print(json.dumps({"exit": daemon.returncode, "stalled_after_s": stalled_after_s, "report": report}))
