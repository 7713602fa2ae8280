package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-sql/sluice/microbatch"
)

// A fetcher fills the buffer: a goroutine a broker asks for records, and one looks at the topic.
type fetcher struct {
	c   *cluster
	b   *buffer
	opt Options
	wg  sync.WaitGroup
	// gone is since when the topic is not what it was.
	gone time.Time
}

// start begins with the topic as connect saw it.
func (f *fetcher) start(ctx context.Context, t *topic) {
	f.b.id = t.id
	f.adopt(ctx, t)
	f.wg.Add(1)
	go f.watch(ctx)
}

// adopt takes over who leads what, and has every leader asked.
func (f *fetcher) adopt(ctx context.Context, t *topic) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	for _, l := range t.leaders {
		p := f.b.find(l.partition)
		if l.epoch < p.leader.epoch {
			continue // a broker that lags behind
		}
		// Why: a new leader may have cut the log off.
		if p.positioned && p.leader.epoch >= 0 && l.epoch > p.leader.epoch && p.epoch >= 0 {
			p.recheck = true
		}
		p.leader = l
		if l.broker < 0 {
			p.trouble = "it has no leader"
			f.b.stale = true
			continue
		}
		if !f.b.serving[l.broker] {
			f.b.serving[l.broker] = true
			f.wg.Add(1)
			go f.serve(ctx, l.broker)
		}
	}
	f.b.wake()
}

// serve asks one broker for what its partitions have, for ever.
func (f *fetcher) serve(ctx context.Context, broker int32) {
	defer f.wg.Done()
	failures := 0
	for ctx.Err() == nil {
		asks, seeks, wait, changed := f.b.asks(broker)
		if len(asks) == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		asked := time.Now()
		answers, err := f.c.fetch(ctx, broker, f.b.id, asks, wait)
		if ctx.Err() != nil {
			return
		}
		if f.settle(broker, asks, seeks, answers, err) {
			failures = 0
			if trickle(answers) {
				_ = pause(ctx, time.Until(asked.Add(gatherFor)))
			}
			continue
		}
		failures++
		_ = pause(ctx, min(time.Second, time.Duration(failures)*50*time.Millisecond))
	}
}

const (
	// gatherFor is how often at most a broker is asked while records only trickle in. Why: it answers the instant that
	// there is one, a thousand times a second if producers write as often, and each time costs both sides much more
	// than a record.
	gatherFor = 5 * time.Millisecond
	// trickleBytes is how much an answer may have to be one of a trickle.
	trickleBytes = 16 << 10
)

// trickle says that answers have all there is, and that it is little.
func trickle(answers []answer) bool {
	bytes := 0
	for i := range answers {
		if a := &answers[i]; a.next < a.stable {
			return false
		}
		bytes += answers[i].bytes
	}
	return bytes > 0 && bytes < trickleBytes
}

// settle puts answers into the buffer. It reports whether all was well.
func (f *fetcher) settle(broker int32, asks []ask, seeks []int, answers []answer, err error) (well bool) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	well = true
	for i, a := range asks {
		p := f.b.byNum[a.partition]
		if p.seeks != seeks[i] {
			continue // Poll went elsewhere meanwhile
		}
		p.asked = false
		got := answer{partition: a.partition, err: err}
		if err == nil {
			got = answers[i]
		}
		if got.err != nil {
			well = false
			f.failed(p, broker, got.err)
			continue
		}
		f.heard(p, &got)
	}
	f.b.wake()
	return well
}

// heard takes an answer. The caller holds the buffer.
func (f *fetcher) heard(p *partition, a *answer) {
	p.trouble, p.broken, p.maxBytes = "", 0, partitionBytes
	p.stable, p.high = a.stable, a.high
	// Why the position stays: an empty answer does not prove that there is nothing. Brokers that keep old segments
	// elsewhere (tiered storage) give one, without an error, when these do not come in time.
	if a.nothing {
		p.nothings++
	} else {
		p.nothings = 0
	}
	p.push(a)
}

// maxBroken is how often a batch that cannot be read is asked for again.
const maxBroken = 5

// failed notes why a partition could not be read. The caller holds the buffer.
func (f *fetcher) failed(p *partition, broker int32, err error) {
	switch {
	case lost(err):
		p.recheck, p.lost, f.b.stale = true, true, true
	case denied(err):
		p.err = fmt.Errorf("source %s: read partition %d of topic %s: %w", f.opt.Name, p.number, f.opt.Topic, f.opt.Client.Explain(err))
	case errors.Is(err, errLongBatch) && p.maxBytes < 1<<29:
		p.maxBytes *= 4 // an old broker that cuts batches
	case movedOn(err):
		var ke *kerr.Error
		if !errors.As(err, &ke) || !errors.Is(err, kerr.UnknownTopicID) {
			p.leader.broker = -1
		}
		p.trouble = fmt.Sprintf("broker %d: %v", broker, err)
		f.b.stale = true
		if unreadable(err) {
			if p.broken++; p.broken >= maxBroken {
				p.err = fmt.Errorf("source %s: partition %d of topic %s cannot be read from offset %d on: %w\nHint: the brokers' logs say more; kafka-dump-log.sh shows the segment",
					f.opt.Name, p.number, f.opt.Topic, p.fetched, err)
			}
		}
	default:
		p.err = fmt.Errorf("source %s: read partition %d of topic %s from offset %d on: %w", f.opt.Name, p.number, f.opt.Topic, p.fetched, f.opt.Client.Explain(err))
	}
}

// watch looks at the topic now and then, and whenever a leader is missing.
func (f *fetcher) watch(ctx context.Context) {
	defer f.wg.Done()
	next := time.Now().Add(f.opt.DiscoverEvery)
	var last time.Time
	again := time.Duration(0) // how many looks in a row were asked for
	for ctx.Err() == nil {
		f.b.mu.Lock()
		stale, changed := f.b.stale, f.b.changed
		f.b.mu.Unlock()
		now := time.Now()
		// Ten times a second at most, however many partitions ask for it, and ever more rarely while that does not help.
		if due := last.Add(min(again, 10) * 100 * time.Millisecond); stale && now.Before(due) {
			_ = pause(ctx, due.Sub(now))
			continue
		}
		if !stale && now.Before(next) {
			again = 0
			t := time.NewTimer(next.Sub(now))
			select {
			case <-changed:
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			continue
		}
		again++
		f.look(ctx)
		last = time.Now()
		next = last.Add(f.opt.DiscoverEvery)
	}
}

// look asks for the topic and looks into what the partitions complain of.
func (f *fetcher) look(ctx context.Context) {
	f.b.mu.Lock()
	f.b.stale = false
	f.b.mu.Unlock()
	t, err := f.c.topic(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil && (t.id == f.b.id || f.b.id == topicID{} || t.id == topicID{}) {
		f.gone = time.Time{}
		f.set("", nil)
		f.adopt(ctx, t)
		f.recheck(ctx)
		return
	}
	if err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
		f.missing(err)
		return
	}
	if denied(err) {
		f.set("", fmt.Errorf("source %s: look at topic %s: %w", f.opt.Name, f.opt.Topic, f.opt.Client.Explain(err)))
		return
	}
	f.set("no broker answers: "+err.Error(), nil)
}

// missing notes that the topic is gone, or another of its name is there. Why it waits: brokers that start, or
// lag behind, say so for an instant of topics that they have.
func (f *fetcher) missing(err error) {
	if f.gone.IsZero() {
		f.gone = time.Now()
	}
	switch {
	case time.Since(f.gone) < min(f.opt.Patience, 5*time.Second):
		f.set(fmt.Sprintf("the brokers do not know topic %s any more", f.opt.Topic), nil)
	case err == nil:
		f.set("", (&Source{opt: f.opt}).recreated())
	default:
		f.set("", fmt.Errorf("source %s: topic %s was deleted: %w\nHint: `sluice drop` the pipeline; what it wrote stays until then", f.opt.Name, f.opt.Topic, microbatch.ErrRangeChanged))
	}
}

// set notes how the topic is; a trouble asks for another look.
func (f *fetcher) set(trouble string, err error) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.b.trouble = trouble
	if f.b.err == nil {
		f.b.err = err
	}
	f.b.stale = f.b.stale || trouble != ""
	f.b.wake()
}
