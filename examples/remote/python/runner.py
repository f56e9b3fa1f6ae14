"""A runner in Python: counts the lines of files, for tasks with the metadata {"files": "/var/log/*.log", "pauseMs": 0}.

    ./run localhost:7846 count

This file has the work; session.py keeps to the protocol, whatever the work is.
"""

import glob
import json
import random
import sys
import time

import grpc
from core.v1 import core_pb2 as core
from session import Runner
from stint.v1 import runner_pb2 as stint

FINAL = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


def count_lines(status, stop, write):
    """Goes on behind the files that are counted by what the progress says. None when it was told to stop."""
    metadata = json.loads(status.metadata)
    files = sorted(glob.glob(metadata["files"]))
    lines = int(status.progress.message.split()[0]) if status.progress.message else 0
    for done, path in enumerate(files[status.progress.current :], status.progress.current + 1):
        with open(path, "rb") as file:
            here = sum(1 for _ in file)
        lines += here
        progress = core.Progress(current=done, total=len(files), unit="files", message=f"{lines} lines")
        write(stint.TaskWrite(progress=progress, entries=[stint.NewLogEntry(msg=f"{path!a} has {here} lines")]))
        if stop.wait(metadata.get("pauseMs", 0) / 1000):
            return None
    return {"files": len(files), "lines": lines}


def main(target, controller):
    runner = Runner(controller, count_lines)
    while True:
        try:
            runner.session(target)
        except grpc.RpcError as error:
            if error.code() in FINAL:
                sys.exit(error.details())
            print("connecting again:", error.code(), file=sys.stderr)
        time.sleep(random.uniform(0.2, 1.2))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: run HOST:PORT CONTROLLER")
    main(*sys.argv[1:])
