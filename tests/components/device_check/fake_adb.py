#!/usr/bin/env python3
"""An `adb` with one phone whose storage is a folder. It fails as a scenario says.

It imports only the standard library.

FAKE_ADB names a folder with `scenario.json`, which can have these keys:

    devices     what `adb devices` prints after its first line
    abilist     `ro.product.cpu.abilist`
    push        what `adb push` prints before it fails
    shell       part of a shell command -> [what it prints, its exit status, or "lost"]
    log         what `benchmark_model` prints
    logs        what it prints each time, instead of `log`
    status      its exit status
    hang        part of a command that never returns
    damage      whether pushed files arrive with another last byte
    server      what every command prints before it fails

It appends each command to `calls`.
"""

import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

home = Path(os.environ["FAKE_ADB"])
scenario = json.loads((home / "scenario.json").read_text())
arguments = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\n")
if arguments == ["version"]:
    print("Android Debug Bridge version 1.0.41\nVersion 35.0.2-12147458\nInstalled as /usr/bin/adb")
    sys.exit(0)
if "server" in scenario:
    print(scenario["server"], file=sys.stderr)
    sys.exit(1)
if scenario.get("hang") and scenario["hang"] in " ".join(arguments):
    time.sleep(600)
if arguments[:1] == ["devices"]:
    print("* daemon not running; starting now at tcp:5037\n* daemon started successfully")
    print("List of devices attached\n" + scenario.get("devices", "PHONE1\tdevice\n"))
    sys.exit(0)
assert arguments[0] == "-s", arguments
serial, command, *rest = arguments[1:]
storage = home / serial
if command == "push":
    if "push" in scenario:
        print(scenario["push"], file=sys.stderr)
        sys.exit(1)
    target = storage / rest[1].lstrip("/")
    if not target.parent.is_dir():
        print(f"adb: error: failed to copy '{rest[0]}' to '{rest[1]}': remote couldn't create file", file=sys.stderr)
        sys.exit(1)
    shutil.copyfile(rest[0], target)
    if scenario.get("damage"):
        target.write_bytes(target.read_bytes()[:-1] + b"\0")
    print(f"{rest[0]}: 1 file pushed, 0 skipped.")
    sys.exit(0)
assert command == "shell", arguments
line, _, mark = rest[0].rpartition("; echo ")
words = shlex.split(line)
text, status = "", 0
for part, outcome in scenario.get("shell", {}).items():
    if part in line:
        if outcome == "lost":
            print(f"adb: device '{serial}' not found", file=sys.stderr)
            sys.exit(1)
        text, status = outcome
        break
else:
    if words[0] == "getprop":
        known = {"abilist": scenario.get("abilist", "arm64-v8a,armeabi-v7a"), "model": "Fake 9", "release": "14"}
        text = known[words[1].rpartition(".")[2]] + "\n"
    elif words[0] == "mkdir":
        (storage / words[2].lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif words[0] == "sha256sum":
        text = hashlib.sha256((storage / words[1].lstrip("/")).read_bytes()).hexdigest() + f"  {words[1]}\n"
    elif words[0] == "chmod":
        (storage / words[2].lstrip("/")).chmod(int(words[1], 8))
    elif words[0] == "pkill":
        shutil.rmtree(storage / words[-1].lstrip("/"), ignore_errors=True)
    else:
        binary = storage / words[0].lstrip("/")
        if not binary.is_file():
            text, status = f"/system/bin/sh: {words[0]}: inaccessible or not found\n", 127
        elif not os.access(binary, os.X_OK):
            text, status = f"/system/bin/sh: {words[0]}: can't execute: Permission denied\n", 126
        else:
            with (home / "ran").open("a") as ran:
                ran.write("+")
            number = (home / "ran").stat().st_size - 1
            text, status = scenario.get("logs", [scenario["log"]] * (number + 1))[number], scenario.get("status", 0)
# As before Android 7, adb itself returns 0 whatever the command's status is.
sys.stdout.write(text + mark.replace("$?", str(status)) + "\n")
