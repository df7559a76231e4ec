"""The program under test, as these scripts call it."""
import json, subprocess, sys


def run(binary, *arguments):
    """Runs a command of the program; gives its JSON, or ends with what it said."""
    done = subprocess.run([binary, *map(str, arguments), "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout)
