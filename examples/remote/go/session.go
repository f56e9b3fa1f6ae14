package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	corev1 "example.com/stint-runner/gen/core/v1"
	pb "example.com/stint-runner/gen/stint/v1"
)

// runner keeps the rules of docs/protocol.md. It has one goroutine for each task, and one that reads the stream.
type runner struct {
	work func(ctx context.Context, task *corev1.TaskStatus, write func(*pb.TaskWrite)) (any, error)

	mu     sync.Mutex // held to send, and for all below
	hello  *pb.RunnerHello
	tasks  map[uint64]*ownTask                                     // by fence
	stream grpc.BidiStreamingClient[pb.RunRequest, pb.RunResponse] // the newest that was welcomed
	echoed uint64                                                  // the newest keepalive that was answered
}

// session is one stream, on a connection of its own: what is broken may be the connection.
func (r *runner) session(target string) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	noWelcome := time.AfterFunc(4*time.Second, cancel)
	stream, err := pb.NewTaskRunnerServiceClient(conn).Run(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.hello.Held = nil
	for _, j := range r.tasks {
		r.hello.Held = append(r.hello.Held, j.HeldTask)
	}
	stream.Send(&pb.RunRequest{Message: &pb.RunRequest_Hello{Hello: r.hello}})
	r.mu.Unlock()
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		r.mu.Lock()
		if welcome := response.GetWelcome(); welcome != nil && noWelcome.Stop() {
			r.stream, r.echoed = stream, 0
			r.welcomed(welcome)
			go r.keepAlive(ctx, cancel, welcome)
		}
		r.heard(response)
		r.mu.Unlock()
	}
}

// welcomed drops what is others' now, and says again what was not answered.
func (r *runner) welcomed(welcome *pb.RunnerWelcome) {
	written := map[uint64]uint64{}
	for _, held := range welcome.Held {
		written[held.Fence] = held.WrittenSeq
	}
	for fence, j := range r.tasks {
		seq, isKept := written[fence]
		if !isKept {
			r.drop(fence)
			continue
		}
		r.wasAnswered(fence, seq)
		for _, message := range j.unanswered {
			r.stream.Send(message)
		}
	}
}

// keepAlive gives a stream up when two keepalives were not answered. They are counted: a pause of this process is no silence of the server.
func (r *runner) keepAlive(ctx context.Context, cancel context.CancelFunc, welcome *pb.RunnerWelcome) {
	for number := uint64(1); ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(welcome.Keepalive.AsDuration()):
		}
		r.mu.Lock()
		if number > r.echoed+2 {
			cancel()
		}
		r.stream.Send(&pb.RunRequest{Message: &pb.RunRequest_Keepalive{Keepalive: &pb.RunnerKeepalive{Number: number}}})
		for fence, j := range r.tasks {
			if j.Phase == pb.RunPhase_RUN_PHASE_PENDING && time.Since(j.offered) > welcome.Lease.AsDuration() {
				r.drop(fence)
			}
		}
		r.mu.Unlock()
	}
}

func (r *runner) heard(response *pb.RunResponse) {
	switch m := response.Message.(type) {
	case *pb.RunResponse_Keepalive:
		r.echoed = m.Keepalive.Number
	case *pb.RunResponse_Offer:
		r.offered(m.Offer)
	case *pb.RunResponse_Written:
		r.wasAnswered(m.Written.Fence, m.Written.Seq)
	case *pb.RunResponse_Refused:
		if m.Refused.Error.GetCode() == int32(code.Code_FAILED_PRECONDITION) { // STALE_FENCE
			r.drop(m.Refused.Fence)
		} else {
			r.wasAnswered(m.Refused.Fence, m.Refused.Seq)
		}
	case *pb.RunResponse_Abort:
		j := r.tasks[m.Abort.Fence]
		if m.Abort.Reason == pb.AbortReason_ABORT_REASON_LOST_FENCE {
			r.drop(m.Abort.Fence)
		} else if j != nil {
			j.stop()
			r.stream.Send(&pb.RunRequest{Message: &pb.RunRequest_Aborted{Aborted: &pb.AbortReceived{
				TaskId: j.TaskId, Fence: j.Fence, Reason: m.Abort.Reason,
			}}})
		}
	}
}
