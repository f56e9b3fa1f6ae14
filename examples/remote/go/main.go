// A runner in Go: counts the lines of files, for tasks with the metadata {"files": "/var/log/*.log", "pauseMs": 0}.
// countLines is the work, and the rest keeps to docs/protocol.md, whatever the work is.
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
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "example.com/stint-runner/gen/core/v1"
	pb "example.com/stint-runner/gen/stint/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const endSeq = 1 << 32 // is above the seqs of all writes; what is said again has the seq that it had, and counts once

var held, stops = map[uint64]*pb.HeldTask{}, map[uint64]context.CancelFunc{} // what is RUNNING here, by fence

func main() {
	ending, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ending, restore) // a second signal ends the process at once
	host, _ := os.Hostname()
	hello := &pb.RunnerHello{Controller: os.Args[2], InstanceId: rand.Text(), Capacity: 8, ProtocolVersion: 1}
	hello.Runner = fmt.Sprintf("go-%s-%d", host, os.Getpid())
	for ending.Err() == nil || len(held) > 0 {
		err := session(ending, os.Args[1], hello)
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.FailedPrecondition {
			log.Fatal(err)
		}
		log.Print("the stream is over: ", err)
		time.Sleep(200*time.Millisecond + mathrand.N(time.Second))
	}
}

// session has one stream, on a connection of its own: what is broken may be the connection.
func session(ending context.Context, target string, hello *pb.RunnerHello) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	silence := time.AfterFunc(4*time.Second, func() { time.Sleep(time.Second); conn.Close() })
	stream, err := pb.NewTaskRunnerServiceClient(conn).Run(context.Background())
	if err != nil {
		return err
	}
	var sending sync.Mutex
	send := func(message *pb.RunRequest) { sending.Lock(); defer sending.Unlock(); stream.Send(message) }
	keepalive := func() { send(&pb.RunRequest{Message: &pb.RunRequest_Keepalive{Keepalive: &pb.RunnerKeepalive{}}}) }
	drain := func() { send(&pb.RunRequest{Message: &pb.RunRequest_Drain{Drain: &pb.RunnerDrain{}}}) }
	hello.Held = nil
	for _, task := range held {
		task.Phase = pb.RunPhase_RUN_PHASE_PENDING // The work stopped with the stream: RUNNING is to be offered again.
		hello.Held = append(hello.Held, task)
	}
	send(&pb.RunRequest{Message: &pb.RunRequest_Hello{Hello: hello}})
	every := time.Duration(0)
	message, err := stream.Recv()
	for ; err == nil; message, err = stream.Recv() {
		offer, abort, refused := message.GetOffer(), message.GetAbort(), message.GetRefused()
		isOver := max(message.GetWritten().GetSeq(), refused.GetSeq()) == endSeq
		isLost := refused.GetError().GetCode() == int32(codes.FailedPrecondition) ||
			abort.GetReason() == pb.AbortReason_ABORT_REASON_LOST_FENCE
		task := held[max(message.GetWritten().GetFence(), refused.GetFence(), abort.GetFence())]
		switch {
		case message.GetWelcome() != nil:
			every = message.GetWelcome().Keepalive.AsDuration()
			context.AfterFunc(ending, drain)
			keepalive()
		case message.GetKeepalive() != nil:
			silence.Reset(2 * every)
			time.AfterFunc(every/2, keepalive)
		case offer.GetPhase() == pb.RunPhase_RUN_PHASE_PENDING: // There is nothing to prepare.
			send(&pb.RunRequest{Message: &pb.RunRequest_End{End: &pb.PhaseEnd{TaskId: offer.TaskId, Fence: offer.Fence,
				Seq: 1, Phase: offer.Phase, Outcome: &pb.PhaseEnd_Done_{Done: &pb.PhaseEnd_Done{}}}}})
		case offer != nil:
			send(&pb.RunRequest{Message: &pb.RunRequest_Accept{Accept: &pb.OfferAccepted{
				TaskId: offer.TaskId, Fence: offer.Fence, Phase: offer.Phase}}})
			ctx, stop := context.WithCancel(stream.Context())
			held[offer.Fence] = &pb.HeldTask{TaskId: offer.TaskId, Fence: offer.Fence, Phase: offer.Phase}
			stops[offer.Fence] = stop
			go run(ctx, offer, send)
		case task != nil && (isOver || isLost || abort != nil && task.Phase == pb.RunPhase_RUN_PHASE_RUNNING):
			stops[task.Fence]()
			delete(held, task.Fence)
			delete(stops, task.Fence)
			if abort != nil && !isLost {
				send(&pb.RunRequest{Message: &pb.RunRequest_Aborted{Aborted: &pb.AbortReceived{
					TaskId: task.TaskId, Fence: task.Fence, Reason: abort.Reason}}})
			}
		}
		if ending.Err() != nil && len(held) == 0 && (isOver || message.GetKeepalive() != nil) {
			stream.CloseSend()
		}
	}
	return err
}

func run(ctx context.Context, offer *pb.TaskOffer, send func(*pb.RunRequest)) {
	result, err := countLines(ctx, offer.Status, func(progress *corev1.Progress, entry string) {
		send(&pb.RunRequest{Message: &pb.RunRequest_Write{Write: &pb.TaskWrite{TaskId: offer.TaskId, Fence: offer.Fence,
			Seq: progress.Current + 1, Progress: progress, Entries: []*pb.NewLogEntry{{Msg: entry}}}}})
	})
	end := &pb.PhaseEnd{TaskId: offer.TaskId, Fence: offer.Fence, Seq: endSeq, Phase: offer.Phase,
		Outcome: &pb.PhaseEnd_Done_{Done: &pb.PhaseEnd_Done{Result: &result}}}
	if ctx.Err() != nil {
		end.Outcome = &pb.PhaseEnd_Aborted_{Aborted: &pb.PhaseEnd_Aborted{}}
	} else if err != nil {
		failure := &corev1.TaskError{Code: 2, Reason: "RUNNER_ERROR", Message: fmt.Sprintf("%+q", err.Error())}
		end.Outcome = &pb.PhaseEnd_Failed_{Failed: &pb.PhaseEnd_Failed{Error: failure}}
	}
	send(&pb.RunRequest{Message: &pb.RunRequest_End{End: end}})
}

// countLines goes on behind the files that are counted by what the progress says, until ctx is over.
func countLines(ctx context.Context, task *corev1.TaskStatus, write func(*corev1.Progress, string)) (string, error) {
	var metadata struct {
		Files   string
		PauseMs time.Duration
	}
	err := json.Unmarshal([]byte(task.Metadata), &metadata)
	files, _ := filepath.Glob(metadata.Files)
	done, lines := int(task.GetProgress().GetCurrent()), 0
	fmt.Sscanf(task.GetProgress().GetMessage(), "%d lines", &lines)
	for ; err == nil && ctx.Err() == nil && done < len(files); done++ {
		var text []byte
		if text, err = os.ReadFile(files[done]); err == nil {
			here := bytes.Count(text, []byte("\n"))
			lines += here
			write(&corev1.Progress{Current: uint64(done) + 1, Total: uint64(len(files)), Unit: "files",
				Message: fmt.Sprintf("%d lines", lines)}, fmt.Sprintf("%q has %d lines", files[done], here))
			time.Sleep(metadata.PauseMs * time.Millisecond)
		}
	}
	return fmt.Sprintf(`{"files": %d, "lines": %d}`, done, lines), err
}
