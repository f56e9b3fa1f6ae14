package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	corev1 "example.com/stint-runner/gen/core/v1"
	pb "example.com/stint-runner/gen/stint/v1"
)

// ownTask is a task that the runner has: from its offer until its end was answered, or it was lost.
type ownTask struct {
	*pb.HeldTask
	ctx        context.Context // over when the work is to stop
	stop       context.CancelFunc
	offered    time.Time
	seq        uint64
	unanswered []*pb.RunRequest
	answered   chan struct{}
}

// offered takes an offer, which may be one that is repeated. There is nothing to prepare, so the phase PENDING ends at once.
func (r *runner) offered(offer *pb.TaskOffer) {
	j, isNew := r.tasks[offer.Fence], false
	if j == nil {
		if offer.Phase != pb.RunPhase_RUN_PHASE_PENDING {
			return // It took too long, and is offered again.
		}
		j, isNew = &ownTask{HeldTask: &pb.HeldTask{TaskId: offer.TaskId, Fence: offer.Fence}, offered: time.Now(), answered: make(chan struct{}, 1)}, true
		j.ctx, j.stop = context.WithCancel(context.Background())
		r.tasks[offer.Fence] = j
	}
	r.stream.Send(&pb.RunRequest{Message: &pb.RunRequest_Accept{Accept: &pb.OfferAccepted{
		TaskId: offer.TaskId, Fence: offer.Fence, Phase: offer.Phase,
	}}})
	if isNew {
		r.say(j, nil, &pb.PhaseEnd{Phase: offer.Phase, Outcome: &pb.PhaseEnd_Done_{Done: &pb.PhaseEnd_Done{}}})
	} else if j.Phase != offer.Phase {
		go r.run(j, offer.Status)
	}
	j.Phase = offer.Phase
}

func (r *runner) run(j *ownTask, task *corev1.TaskStatus) {
	end := &pb.PhaseEnd{Phase: pb.RunPhase_RUN_PHASE_RUNNING}
	value, err := r.work(j.ctx, task, func(write *pb.TaskWrite) {
		r.mu.Lock()
		r.say(j, write, nil)
		r.mu.Unlock()
		select { // No more than one is on its way, so that nothing piles up while the server is away.
		case <-j.answered:
		case <-j.ctx.Done():
		}
	})
	result, _ := json.Marshal(value)
	if j.ctx.Err() != nil && err != nil {
		end.Outcome = &pb.PhaseEnd_Aborted_{Aborted: &pb.PhaseEnd_Aborted{}}
	} else if err != nil {
		failure := &corev1.TaskError{Code: code.Code_UNKNOWN, Reason: "RUNNER_ERROR", Message: fmt.Sprintf("%+q", err.Error())}
		end.Outcome = &pb.PhaseEnd_Failed_{Failed: &pb.PhaseEnd_Failed{Error: failure}}
	} else {
		text := string(result)
		end.Outcome = &pb.PhaseEnd_Done_{Done: &pb.PhaseEnd_Done{Result: &text}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(j, nil, end)
}

// say sends a write or an end, and keeps it until it is answered.
func (r *runner) say(j *ownTask, write *pb.TaskWrite, end *pb.PhaseEnd) {
	j.seq++
	message := &pb.RunRequest{}
	if write != nil {
		write.TaskId, write.Fence, write.Seq = j.TaskId, j.Fence, j.seq
		message.Message = &pb.RunRequest_Write{Write: write}
	} else {
		end.TaskId, end.Fence, end.Seq = j.TaskId, j.Fence, j.seq
		message.Message = &pb.RunRequest_End{End: end}
	}
	if r.tasks[j.Fence] == j {
		j.unanswered = append(j.unanswered, message)
		r.stream.Send(message)
	}
}

func (r *runner) wasAnswered(fence, seq uint64) {
	j := r.tasks[fence]
	for j != nil && len(j.unanswered) > 0 {
		message := j.unanswered[0]
		if max(message.GetWrite().GetSeq(), message.GetEnd().GetSeq()) > seq {
			return
		}
		j.unanswered = j.unanswered[1:]
		if message.GetWrite() != nil {
			select {
			case j.answered <- struct{}{}:
			default:
			}
		} else if message.GetEnd().Phase == pb.RunPhase_RUN_PHASE_RUNNING {
			r.drop(fence)
		}
	}
}

// drop forgets a task, and has its work stop.
func (r *runner) drop(fence uint64) {
	if j := r.tasks[fence]; j != nil {
		j.stop()
		delete(r.tasks, fence)
	}
}
