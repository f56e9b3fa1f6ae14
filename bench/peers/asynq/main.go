// The load of asynq, as bench/processes/launch-load.mjs is that of Stint: so many enqueues in flight for so many seconds, each of a task with an
// id of its own. It answers a line of JSON with a line of JSON, and ends with its stdin.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

type asked struct {
	Address  string
	InFlight int
	Seconds  float64
}

var launched atomic.Int64

func main() {
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var what asked
		err := json.Unmarshal(lines.Bytes(), &what)
		perSecond := 0.0
		if err == nil {
			perSecond, err = closed(what)
		}
		if err != nil {
			_ = answers.Encode(map[string]string{"error": err.Error()})
			continue
		}
		_ = answers.Encode(map[string]any{"answer": map[string]float64{"perSecond": perSecond}})
	}
}

func closed(what asked) (float64, error) {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: what.Address, PoolSize: what.InFlight})
	defer client.Close()
	since := time.Now()
	until := since.Add(time.Duration(what.Seconds * float64(time.Second)))
	var all sync.WaitGroup
	var enqueued atomic.Int64
	failed := make(chan error, what.InFlight)
	for range what.InFlight {
		all.Go(func() {
			for time.Now().Before(until) {
				if err := enqueue(client); err != nil {
					failed <- err
					return
				}
				enqueued.Add(1)
			}
		})
	}
	all.Wait()
	perSecond := float64(enqueued.Load()) / time.Since(since).Seconds()
	select {
	case err := <-failed:
		return 0, err
	default:
		return perSecond, nil
	}
}

func enqueue(client *asynq.Client) error {
	n := launched.Add(1)
	payload := fmt.Sprintf(`{"n":%d,"at":%d}`, n, time.Now().UnixMilli())
	_, err := client.Enqueue(asynq.NewTask("task", []byte(payload)), asynq.TaskID(fmt.Sprintf("task-%d", n)))
	return err
}
