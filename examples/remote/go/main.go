// A runner in Go: counts the lines of files, for tasks with the metadata {"files": "/var/log/*.log", "pauseMs": 0}.
//
//	./run localhost:7846 count
//
// This file has the work; session.go and tasks.go keep to the protocol, whatever the work is.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	corev1 "example.com/stint-runner/gen/core/v1"
	pb "example.com/stint-runner/gen/stint/v1"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: run HOST:PORT CONTROLLER")
	}
	host, _ := os.Hostname()
	r := &runner{work: countLines, tasks: map[uint64]*ownTask{}, hello: &pb.RunnerHello{
		Controller:      os.Args[2],
		Runner:          fmt.Sprintf("go-%s-%d", host, os.Getpid()),
		InstanceId:      rand.Text(),
		Capacity:        8,
		ProtocolVersion: 1,
	}}
	for ; ; time.Sleep(200*time.Millisecond + mathrand.N(time.Second)) {
		err := r.session(os.Args[1])
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.FailedPrecondition {
			log.Fatal(err)
		}
		log.Print("connecting again: ", err)
	}
}

type counts struct {
	Files int `json:"files"`
	Lines int `json:"lines"`
}

// countLines goes on behind the files that are counted by what the progress says, until ctx is over.
func countLines(ctx context.Context, task *corev1.TaskStatus, write func(*pb.TaskWrite)) (any, error) {
	var metadata struct {
		Files   string
		PauseMs int
	}
	if err := json.Unmarshal([]byte(task.Metadata), &metadata); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(metadata.Files)
	if err != nil {
		return nil, err
	}
	done := counts{Files: int(task.GetProgress().GetCurrent())}
	fmt.Sscanf(task.GetProgress().GetMessage(), "%d lines", &done.Lines)
	for _, file := range files[min(done.Files, len(files)):] {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		lines := bytes.Count(text, []byte("\n"))
		done = counts{done.Files + 1, done.Lines + lines}
		write(&pb.TaskWrite{
			Progress: &corev1.Progress{
				Current: uint64(done.Files),
				Total:   uint64(len(files)),
				Unit:    "files",
				Message: fmt.Sprintf("%d lines", done.Lines),
			},
			Entries: []*pb.NewLogEntry{{Msg: fmt.Sprintf("%q has %d lines", file, lines)}},
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(metadata.PauseMs) * time.Millisecond):
		}
	}
	return done, nil
}
