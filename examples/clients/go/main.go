// A client in Go: launches a countdown, watches it to its end, over restarts of the server, and reads it back.
//
//	./run localhost:7846 my-task
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	corev1 "example.com/stint-client/gen/core/v1"
	stintv1 "example.com/stint-client/gen/stint/v1"
)

const controller = "countdown"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: run HOST:PORT TASK_ID")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, target, taskID string) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := stintv1.NewTaskControllerServiceClient(conn)

	// The same request id makes it safe to ask again: there is one launch, however often it is asked for.
	launched, err := retry(ctx, func() (*stintv1.LaunchTaskResponse, error) {
		return client.LaunchTask(ctx, &stintv1.LaunchTaskRequest{
			Controller: controller,
			TaskId:     taskID,
			Payload:    &stintv1.LaunchTaskRequest_JsonMetadata{JsonMetadata: `{"limit": 40, "intervalMs": 100}`},
			RequestId:  "go-" + taskID,
		})
	})
	if err != nil {
		return err
	}
	fmt.Println("launched run", launched.RunId)

	if err := watch(ctx, client, taskID); err != nil {
		return err
	}
	read, err := retry(ctx, func() (*stintv1.GetTaskStatusResponse, error) {
		return client.GetTaskStatus(ctx, &stintv1.GetTaskStatusRequest{Controller: controller, TaskId: taskID})
	})
	if err != nil {
		return err
	}
	fmt.Println(read.Status.State, read.Status.GetResult())
	return nil
}

// watch prints what becomes of the task until it has ended. A stream that breaks is continued from the last revision.
func watch(ctx context.Context, client stintv1.TaskControllerServiceClient, taskID string) error {
	var since uint64
	for {
		ended, err := watchOnce(ctx, client, taskID, &since)
		if ended || err != nil && !isPassing(err) {
			return err
		}
		fmt.Println("the server is away; going on from revision", since)
		time.Sleep(200 * time.Millisecond)
	}
}

func watchOnce(ctx context.Context, client stintv1.TaskControllerServiceClient, taskID string, since *uint64) (bool, error) {
	stream, err := client.WatchTask(ctx, &stintv1.WatchTaskRequest{
		Controller:    controller,
		TaskId:        taskID,
		SinceRevision: *since,
		IncludeLogs:   true,
	}, grpc.WaitForReady(true))
	if err != nil {
		return false, err
	}
	for {
		change, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		*since = change.Revision
		for _, entry := range change.Logs {
			fmt.Println("log:", entry.Msg)
		}
		if change.Status != nil && change.Status.State == corev1.TaskState_Running {
			fmt.Printf("%d/%d\n", change.Status.GetProgress().GetCurrent(), change.Status.GetProgress().GetTotal())
		}
	}
}

// retry repeats a call while the server is away.
func retry[T any](ctx context.Context, call func() (T, error)) (T, error) {
	for {
		answer, err := call()
		if err == nil || !isPassing(err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func isPassing(err error) bool {
	return status.Code(err) == codes.Unavailable
}
