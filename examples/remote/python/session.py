"""A runner that keeps the rules of docs/protocol.md. It has a thread for each task, one for keepalives, and one that reads the stream."""

import json
import os
import queue
import secrets
import socket
import threading
import time

import grpc
from core.v1 import core_pb2 as core
from google.rpc import code_pb2
from stint.v1 import runner_pb2 as stint
from stint.v1 import runner_pb2_grpc

# Without a pool of its own, a new channel has the connection of the old one, which may be what is broken.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class OwnTask:  # A task that this process has: from its offer until its end was answered, or it was lost.
    def __init__(self, offer):
        self.held = stint.HeldTask(task_id=offer.task_id, fence=offer.fence, phase=offer.phase)
        self.names = {"task_id": offer.task_id, "fence": offer.fence}
        self.offered = time.monotonic()
        self.stop = threading.Event()
        self.seq, self.unanswered = 0, {}  # by seq


class Runner:
    def __init__(self, controller, work):
        self.work, self.tasks = work, {}  # by fence
        name = f"python-{socket.gethostname()}-{os.getpid()}"
        self.hello = dict(controller=controller, runner=name, instance_id=secrets.token_hex(16), capacity=8, protocol_version=1)
        self.lock = threading.Condition()
        self.requests = queue.SimpleQueue()  # of the newest stream that was welcomed

    def session(self, target):  # One stream, on a connection of its own.
        requests, over = queue.SimpleQueue(), threading.Event()
        with grpc.insecure_channel(target, options=OWN_CONNECTION) as channel:
            with self.lock:
                hello = stint.RunnerHello(**self.hello, held=[own.held for own in self.tasks.values()])
            requests.put(stint.RunRequest(hello=hello))
            call = runner_pb2_grpc.TaskRunnerServiceStub(channel).Run(iter(requests.get, None))
            late = threading.Timer(4, call.cancel)
            late.start()
            try:
                for response in call:
                    late.cancel()
                    with self.lock:
                        if response.HasField("welcome"):
                            self.requests, self.echoed = requests, 0
                            self.welcomed(response.welcome)
                            threading.Thread(target=self.keep_alive, args=(call, over, response.welcome), daemon=True).start()
                        self.heard(response)
                        self.lock.notify_all()
            finally:
                late.cancel()
                over.set()
                requests.put(None)

    def welcomed(self, welcome):
        """Drops what is others' now, and says again what was not answered."""
        written = {held.fence: held.written_seq for held in welcome.held}
        for fence, own in list(self.tasks.items()):
            if fence in written:
                self.answered(fence, written[fence])
                for message in own.unanswered.values():
                    self.requests.put(message)
            else:
                self.drop(fence)

    def keep_alive(self, call, over, welcome):
        """Gives a stream up when two keepalives were not answered: counted, as a pause of this process is no silence of the server."""
        number = 0
        while not over.wait(welcome.keepalive.ToTimedelta().total_seconds()):
            number += 1
            with self.lock:
                if number > self.echoed + 2:
                    call.cancel()
                self.requests.put(stint.RunRequest(keepalive={"number": number}))
                for fence, own in list(self.tasks.items()):
                    if own.held.phase == stint.RUN_PHASE_PENDING and time.monotonic() - own.offered > welcome.lease.seconds:
                        self.drop(fence)

    def heard(self, response):
        message = getattr(response, kind := response.WhichOneof("message"))
        if kind == "keepalive":
            self.echoed = message.number
        elif kind == "offer":
            self.offered(message)
        elif kind == "refused" and message.error.code == code_pb2.FAILED_PRECONDITION:  # STALE_FENCE
            self.drop(message.fence)
        elif kind in ("written", "refused"):
            self.answered(message.fence, message.seq)
        elif kind == "abort" and message.reason == stint.ABORT_REASON_LOST_FENCE:
            self.drop(message.fence)
        elif kind == "abort" and message.fence in self.tasks:
            own = self.tasks[message.fence]
            own.stop.set()
            self.requests.put(stint.RunRequest(aborted=stint.AbortReceived(**own.names, reason=message.reason)))

    def offered(self, offer):
        """Takes an offer, which may be a repeated one. There is nothing to prepare, so the phase PENDING ends at once."""
        is_new = offer.fence not in self.tasks
        if is_new and offer.phase != stint.RUN_PHASE_PENDING:
            return  # It took too long, and is offered again.
        own = self.tasks.setdefault(offer.fence, OwnTask(offer))
        self.requests.put(stint.RunRequest(accept=stint.OfferAccepted(**own.names, phase=offer.phase)))
        if is_new:
            self.say(own, end=stint.PhaseEnd(phase=offer.phase, done={}))
        elif own.held.phase != offer.phase:
            threading.Thread(target=self.run, args=(own, offer.status), daemon=True).start()
        own.held.phase = offer.phase

    def say(self, own, **message):
        """Sends a write or an end, and keeps it until it is answered."""
        own.seq += 1
        for part in message.values():
            part.MergeFrom(type(part)(**own.names, seq=own.seq))
        if self.tasks.get(own.held.fence) is own:
            own.unanswered[own.seq] = stint.RunRequest(**message)
            self.requests.put(own.unanswered[own.seq])

    def answered(self, fence, seq):
        own = self.tasks.get(fence)
        for said in [said for said in own.unanswered if said <= seq] if own else []:
            if own.unanswered.pop(said).end.phase == stint.RUN_PHASE_RUNNING:
                self.drop(fence)

    def drop(self, fence):
        if fence in self.tasks:
            self.tasks.pop(fence).stop.set()

    def run(self, own, status):
        end = stint.PhaseEnd(phase=stint.RUN_PHASE_RUNNING)
        try:
            result = self.work(status, own.stop, lambda write: self.write(own, write))
            end.aborted.SetInParent() if result is None else setattr(end.done, "result", json.dumps(result))
        except Exception as error:
            end.failed.error.MergeFrom(core.TaskError(code=code_pb2.UNKNOWN, reason="RUNNER_ERROR", message=ascii(error)))
        with self.lock:
            self.say(own, end=end)

    def write(self, own, write):
        """Says it, and waits for the answer, so that nothing piles up while the server is away."""
        with self.lock:
            self.say(own, write=write)
            self.lock.wait_for(lambda: own.stop.is_set() or not own.unanswered)
