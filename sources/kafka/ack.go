package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A committer sets a consumer group's offsets, for whoever watches lag. The log's are the only truth: a commit that
// fails is tried again with the next batch, and never holds one up.
type committer struct {
	mu      sync.Mutex
	pending *position
	wake    chan struct{}
	stop    chan struct{}
	wg      sync.WaitGroup
	failed  atomic.Pointer[string]
}

// closeTimeout bounds the last commit.
const closeTimeout = 5 * time.Second

// Ack implements microbatch.Source. It does not wait for the brokers.
func (s *Source) Ack(_ context.Context, offsets json.RawMessage) error {
	if s.opt.GroupID == "" {
		return nil
	}
	p, err := decodePosition(offsets)
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	if p == nil {
		return nil
	}
	s.acks.mu.Lock()
	defer s.acks.mu.Unlock()
	s.acks.pending = p
	s.acks.signal()
	return nil
}

// signal wakes the goroutine, if it runs yet. The caller holds mu.
func (a *committer) signal() {
	if a.wake == nil {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// start starts committing what was acknowledged, before now too.
func (a *committer) start(c *cluster) {
	if c.opt.GroupID == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake, a.stop = make(chan struct{}, 1), make(chan struct{})
	a.signal()
	a.wg.Add(1)
	go a.run(c, a.wake, a.stop)
}

func (a *committer) run(c *cluster, wake, stop chan struct{}) {
	defer a.wg.Done()
	for {
		select {
		case <-wake:
			a.commit(c, requestTimeout)
		case <-stop:
			a.commit(c, closeTimeout)
			return
		}
	}
}

// commit sets the offsets acknowledged last.
func (a *committer) commit(c *cluster, timeout time.Duration) {
	a.mu.Lock()
	p := a.pending
	a.pending = nil
	a.mu.Unlock()
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	offsets := kadm.Offsets{}
	for _, m := range p.marks {
		offsets.AddOffset(p.topic, m.partition, m.next, m.epoch)
	}
	failed := ""
	if err := c.admin.CommitAllOffsets(ctx, c.opt.GroupID, offsets); err != nil {
		failed = fmt.Sprintf("the offsets of group %s cannot be set, which only matters to whoever watches them: %v", c.opt.GroupID, err)
	}
	a.failed.Store(&failed)
}

// close commits what is pending, if the brokers answer soon.
func (a *committer) close() {
	if a.stop == nil {
		return
	}
	close(a.stop)
	a.wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stop, a.wake = nil, nil
}
