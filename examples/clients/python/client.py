"""A client in Python: launches a countdown, watches it to its end, over restarts of the server, and reads it back.

    ./run localhost:7846 my-task
"""

import sys
import time

import grpc
from core.v1 import core_pb2
from stint.v1 import controller_pb2 as stint
from stint.v1 import controller_pb2_grpc

CONTROLLER = "countdown"


def main(target: str, task_id: str) -> None:
    with grpc.insecure_channel(target) as channel:
        client = controller_pb2_grpc.TaskControllerServiceStub(channel)
        # The same request id makes it safe to ask again: there is one launch, however often it is asked for.
        launch = stint.LaunchTaskRequest(
            controller=CONTROLLER,
            task_id=task_id,
            json_metadata='{"limit": 40, "intervalMs": 100}',
            request_id=f"python-{task_id}",
        )
        launched = retry(lambda: client.LaunchTask(launch))
        print("launched run", launched.run_id, flush=True)
        watch(client, task_id)
        request = stint.GetTaskStatusRequest(controller=CONTROLLER, task_id=task_id)
        status = retry(lambda: client.GetTaskStatus(request)).status
        print(core_pb2.TaskState.Name(status.state), status.result)


def watch(client: controller_pb2_grpc.TaskControllerServiceStub, task_id: str) -> None:
    """Prints what becomes of the task until it has ended. A stream that breaks is continued from the last revision."""
    since = 0
    while True:
        request = stint.WatchTaskRequest(
            controller=CONTROLLER, task_id=task_id, since_revision=since, include_logs=True
        )
        try:
            for change in client.WatchTask(request, wait_for_ready=True):
                since = change.revision
                for entry in change.logs:
                    print("log:", entry.msg, flush=True)
                if change.HasField("status") and change.status.state == core_pb2.Running:
                    print(f"{change.status.progress.current}/{change.status.progress.total}", flush=True)
            return
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            print("the server is away; going on from revision", since, flush=True)
            time.sleep(0.2)


def retry(call):
    """Repeats a call while the server is away."""
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: run HOST:PORT TASK_ID")
    main(*sys.argv[1:])
