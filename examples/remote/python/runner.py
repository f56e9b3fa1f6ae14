"""A runner in Python: counts the lines of files, for tasks with the metadata {"files": "/var/log/*.log", "pauseMs": 0}.
count_lines is the work, and the rest keeps to docs/protocol.md, whatever the work is."""

import glob
import json
import os
import queue
import random
import secrets
import signal
import socket
import sys
import threading
import time

import grpc
from core.v1 import core_pb2 as core
from google.rpc import code_pb2 as code
from stint.v1 import runner_pb2 as stint
from stint.v1.runner_pb2_grpc import TaskRunnerServiceStub


def count_lines(status, stop, write):
    """Goes on behind the files that are counted by what the progress says. None when it was told to stop."""
    metadata = json.loads(status.metadata or "{}")
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


class Task:  # One that is RUNNING here: it has a thread, and at most one write or end that is not answered.
    def __init__(self, offer):
        self.names = {"task_id": offer.task_id, "fence": offer.fence}
        self.stop, self.answers = threading.Event(), queue.SimpleQueue()
        self.seq, self.said = 1, None  # The first was the end of PENDING.


class Runner:  # Its main thread reads the stream.
    def __init__(self, controller):
        name, secret = f"python-{socket.gethostname()}-{os.getpid()}", secrets.token_hex(16)
        self.hello = {"controller": controller, "runner": name, "instance_id": secret, "capacity": 8}
        self.tasks, self.draining = {}, False  # by fence
        self.requests = queue.SimpleQueue()  # of the newest stream that was welcomed

    def send(self, **message):
        self.requests.put(stint.RunRequest(**message))

    def drain(self, *_):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # A second one ends the process at once.
        self.draining = True
        self.send(drain={})

    def session(self, target):
        """Has one stream, on a connection of its own: what is broken may be the connection."""
        requests, self.unanswered, self.every = queue.SimpleQueue(), 0, 1
        held = [stint.HeldTask(**task.names, phase=stint.RUN_PHASE_RUNNING) for task in self.tasks.values()]
        requests.put(stint.RunRequest(hello=stint.RunnerHello(**self.hello, protocol_version=1, held=held)))
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = TaskRunnerServiceStub(channel).Run(iter(requests.get, None))
            threading.Thread(target=self.keep_alive, args=(call, requests), daemon=True).start()
            for response in call:
                if response.HasField("welcome"):
                    self.requests, self.every = requests, response.welcome.keepalive.ToTimedelta().total_seconds() / 2
                self.heard(response)

    def keep_alive(self, call, requests):
        """Gives up a stream without answers for two keepalives: counted, as a pause of this process is no silence."""
        while call.is_active():
            self.unanswered += 1
            if self.unanswered > 4:
                call.cancel()
            requests.put(stint.RunRequest(keepalive={}))
            time.sleep(self.every)
        requests.put(None)

    def heard(self, response):
        message = getattr(response, kind := response.WhichOneof("message"))
        task = self.tasks.get(getattr(message, "fence", None))
        is_answer = kind in ("written", "refused") and task and task.said and message.seq == task.seq
        is_stale = kind == "refused" and message.error.code == code.FAILED_PRECONDITION
        is_lost = is_stale or kind == "abort" and message.reason == stint.ABORT_REASON_LOST_FENCE
        is_over = is_answer and task.said.HasField("end")
        if kind == "welcome":
            for said in [task.said for task in self.tasks.values() if task.said]:
                self.requests.put(said)
            if self.draining:
                self.drain()
        elif kind == "keepalive":
            self.unanswered = 0
        elif kind == "offer" and message.phase == stint.RUN_PHASE_PENDING:  # There is nothing to prepare.
            self.send(end=stint.PhaseEnd(**Task(message).names, seq=1, phase=message.phase, done={}))
        elif kind == "offer" and not task:
            self.tasks[message.fence] = task = Task(message)
            self.send(accept=stint.OfferAccepted(**task.names, phase=message.phase))
            threading.Thread(target=self.run, args=(task, message.status), daemon=True).start()
        elif task and (is_lost or is_over):
            del self.tasks[message.fence]
            task.stop.set()
            task.answers.put(None)
        elif task and kind == "abort":
            task.stop.set()
            self.send(aborted=stint.AbortReceived(**task.names, reason=message.reason))
        elif is_answer:
            task.said = None
            task.answers.put(None)
        if self.draining and not self.tasks and (is_over or kind == "keepalive"):
            self.requests.put(None)

    def run(self, task, status):
        end = stint.PhaseEnd(phase=stint.RUN_PHASE_RUNNING)
        try:
            result = count_lines(status, task.stop, lambda write: self.say(task, write=write))
            end.aborted.SetInParent() if result is None else setattr(end.done, "result", json.dumps(result))
        except Exception as error:
            end.failed.error.MergeFrom(core.TaskError(code=code.UNKNOWN, reason="RUNNER_ERROR", message=ascii(error)))
        self.say(task, end=end)

    def say(self, task, **said):
        """Says a write or an end, and waits for the answer. Where the stream breaks it is said again on the next."""
        task.seq += 1
        for part in said.values():
            part.MergeFrom(type(part)(**task.names, seq=task.seq))
        if self.tasks.get(task.names["fence"]) is task:
            task.said = stint.RunRequest(**said)  # before it is sent: a stream that begins just now sends it, too
            self.requests.put(task.said)
            task.answers.get()


if __name__ == "__main__":
    runner = Runner(sys.argv[2])
    signal.signal(signal.SIGTERM, runner.drain)
    signal.signal(signal.SIGINT, runner.drain)
    while runner.tasks or not runner.draining:
        try:
            runner.session(sys.argv[1])
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                sys.exit(error.details())
            print("connecting again:", error.code(), file=sys.stderr)
            time.sleep(random.uniform(0.2, 1.2))
