package dev.stint.example;

import dev.stint.core.v1.LogEntry;
import dev.stint.core.v1.Progress;
import dev.stint.core.v1.TaskState;
import dev.stint.core.v1.TaskStatus;
import dev.stint.v1.GetTaskStatusRequest;
import dev.stint.v1.LaunchTaskRequest;
import dev.stint.v1.TaskControllerServiceGrpc;
import dev.stint.v1.TaskControllerServiceGrpc.TaskControllerServiceBlockingStub;
import dev.stint.v1.WatchTaskRequest;
import dev.stint.v1.WatchTaskResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;
import java.util.function.Supplier;

/**
 * A client in Java: launches a countdown, watches it to its end, over restarts of the server, and reads it back.
 *
 * <pre>./run localhost:7846 my-task</pre>
 */
public final class Client {
  private static final String CONTROLLER = "countdown";

  private final TaskControllerServiceBlockingStub stub;
  private final String taskId;
  /** The last revision seen: a stream that breaks is continued behind it. */
  private long since = 0;

  private Client(TaskControllerServiceBlockingStub stub, String taskId) {
    this.stub = stub;
    this.taskId = taskId;
  }

  public static void main(String[] args) throws InterruptedException {
    if (args.length != 2) {
      System.err.println("usage: run HOST:PORT TASK_ID");
      System.exit(1);
    }
    ManagedChannel channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
    try {
      new Client(TaskControllerServiceGrpc.newBlockingStub(channel), args[1]).run();
    } catch (StatusRuntimeException error) {
      System.err.println(error.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }

  private void run() throws InterruptedException {
    // The same request id makes it safe to ask again: there is one launch, however often it is asked for.
    LaunchTaskRequest launch =
        LaunchTaskRequest.newBuilder()
            .setController(CONTROLLER)
            .setTaskId(taskId)
            .setJsonMetadata("{\"limit\": 40, \"intervalMs\": 100}")
            .setRequestId("java-" + taskId)
            .build();
    System.out.println("launched run " + retry(() -> stub.launchTask(launch)).getRunId());

    watch();
    GetTaskStatusRequest get =
        GetTaskStatusRequest.newBuilder().setController(CONTROLLER).setTaskId(taskId).build();
    TaskStatus read = retry(() -> stub.getTaskStatus(get)).getStatus();
    System.out.println(read.getState() + " " + read.getResult());
  }

  /** Prints what becomes of the task until it has ended. */
  private void watch() throws InterruptedException {
    while (true) {
      try {
        watchOnce();
        return;
      } catch (StatusRuntimeException error) {
        if (!isPassing(error)) throw error;
      }
      System.out.println("the server is away; going on from revision " + Long.toUnsignedString(since));
      Thread.sleep(200);
    }
  }

  private void watchOnce() {
    WatchTaskRequest request =
        WatchTaskRequest.newBuilder()
            .setController(CONTROLLER)
            .setTaskId(taskId)
            .setSinceRevision(since)
            .setIncludeLogs(true)
            .build();
    Iterator<WatchTaskResponse> changes = stub.withWaitForReady().watchTask(request);
    while (changes.hasNext()) {
      WatchTaskResponse change = changes.next();
      since = change.getRevision();
      for (LogEntry entry : change.getLogsList()) System.out.println("log: " + entry.getMsg());
      if (change.getStatus().getState() == TaskState.Running) {
        Progress progress = change.getStatus().getProgress();
        System.out.println(progress.getCurrent() + "/" + progress.getTotal());
      }
    }
  }

  /** Repeats a call while the server is away. */
  private static <T> T retry(Supplier<T> call) throws InterruptedException {
    while (true) {
      try {
        return call.get();
      } catch (StatusRuntimeException error) {
        if (!isPassing(error)) throw error;
      }
      Thread.sleep(200);
    }
  }

  private static boolean isPassing(StatusRuntimeException error) {
    return error.getStatus().getCode() == Status.Code.UNAVAILABLE;
  }
}
