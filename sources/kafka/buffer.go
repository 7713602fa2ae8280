package kafka

import (
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A partition is read by the broker goroutines into its queue and taken from by Poll.
type partition struct {
	number int32
	leader leader

	positioned bool
	base       mark // everything before base.next has been taken
	// skipped counts records taken since that were no rows, which do not move the position by themselves.
	skipped, skippedBytes int64
	queue                 []*kgo.Record // those of [base.next, fetched), the first `head` of them taken
	head                  int
	bytes                 int64
	fetched               int64
	epoch                 int32 // of the last batch before fetched
	stable                int64 // the end of what may be read as last heard, high the end of what is there; -1 unknown
	high                  int64
	end                   int64 // where reading ends, in bounded mode; -1 without an end

	asked    bool // a question is on its way
	seeks    int  // counts changes of position: an answer to an older question is not one
	maxBytes int32
	nothings int    // times in a row that the broker had nothing to say of a range
	broken   int    // times in a row that a batch could not be read
	recheck  bool   // its leader changed, or its offset is out of range: nothing is asked until that is looked into
	lost     bool   // recheck because of an offset out of range
	trouble  string // why it cannot be read at the moment
	err      error  // why it cannot be read at all
}

// waiting is how many records are in the queue.
func (p *partition) waiting() int { return len(p.queue) - p.head }

const (
	// manyNothings is how often a broker must have nothing to say of a range that it should say something of, before
	// it is taken to have no records there: compaction removes all of a log's end, if it is old enough. Each time the
	// broker is given longPoll.
	manyNothings = 2
	// endNothings is the same for the end of a bounded partition, after which nobody asks again.
	endNothings = 10
)

// done says that all of a bounded partition has been fetched.
func (p *partition) done() bool {
	return p.end >= 0 && (p.fetched >= p.end || p.nothings >= endNothings)
}

// current says that there was nothing more to fetch when the broker was last asked.
func (p *partition) current() bool {
	return p.done() || p.stable >= 0 && p.fetched >= p.stable || p.nothings >= manyNothings || p.err != nil
}

// overhead is what a buffered record takes beside its bytes.
const overhead = 200

// push appends an answer's records, as far as the end of a bounded partition.
func (p *partition) push(a *answer) {
	if p.head > 0 && p.head >= len(p.queue)/2 {
		n := copy(p.queue, p.queue[p.head:])
		clear(p.queue[n:])
		p.queue, p.head = p.queue[:n], 0
	}
	for _, r := range a.records {
		if p.end >= 0 && r.Offset >= p.end {
			break
		}
		p.queue = append(p.queue, r)
		p.bytes += recordBytes(r) + overhead
	}
	p.fetched = a.next
	if p.end >= 0 {
		p.fetched = min(p.fetched, p.end)
	}
	if a.epoch >= 0 {
		p.epoch = a.epoch
	}
}

// drop takes the first n records out of the queue.
func (p *partition) drop(n int) {
	for i := p.head; i < p.head+n; i++ {
		p.bytes -= recordBytes(p.queue[i]) + overhead
		p.queue[i] = nil // else the batch that it is a part of would stay in memory
	}
	if p.head += n; p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
}

// seek makes m the position. It reports whether what is buffered is of use for that.
func (p *partition) seek(m mark) bool {
	if p.positioned && p.near(m) {
		if p.base.next == m.next {
			return true
		}
		n := 0
		for n < p.waiting() && p.queue[p.head+n].Offset < m.next {
			n++
		}
		p.drop(n)
		p.base = m
		return true
	}
	p.reset(m)
	return false
}

// reset forgets what is buffered.
func (p *partition) reset(m mark) {
	p.positioned, p.base, p.queue, p.head, p.bytes = true, m, nil, 0, 0
	p.fetched, p.epoch, p.stable, p.nothings, p.broken, p.err = m.next, m.epoch, -1, 0, 0, nil
	p.asked, p.skipped, p.skippedBytes = false, 0, 0
	p.seeks++
}

// skip takes the first n records of the queue, which are no rows, and leaves the position where it is. Why: a batch
// without rows is not logged, and the next Poll goes on from the offsets of the last one that is.
func (p *partition) skip(n int) {
	for _, r := range p.queue[p.head : p.head+n] {
		p.skippedBytes += recordBytes(r)
	}
	p.drop(n)
	p.skipped += int64(n)
}

// taken takes the first n records of the queue and moves the position behind them, and behind whatever is known to
// follow that is no record.
func (p *partition) taken(n int) mark {
	m := p.base
	m.records += p.skipped + int64(n)
	p.skipped, p.skippedBytes = 0, 0
	if n > 0 {
		last := p.queue[p.head+n-1]
		m.next, m.epoch = last.Offset+1, last.LeaderEpoch
		p.drop(n)
	}
	if p.waiting() == 0 && p.fetched > m.next {
		m.next, m.epoch = p.fetched, p.epoch
	}
	p.base = m
	return m
}

// A buffer holds what was fetched ahead, by partition.
type buffer struct {
	mu      sync.Mutex
	changed chan struct{} // closed and made anew whenever something changes
	parts   []*partition  // in the order in which they were found
	byNum   map[int32]*partition
	id      topicID
	// stale asks for another look at the topic; trouble says why that failed.
	stale    bool
	trouble  string
	err      error // ends reading altogether
	perPart  int64
	maxBytes int64
	turn     int // rotates who is asked and taken from first
	serving  map[int32]bool
}

func newBuffer(maxBytes int64) *buffer {
	return &buffer{changed: make(chan struct{}), byNum: map[int32]*partition{}, maxBytes: maxBytes, serving: map[int32]bool{}}
}

// wake tells whoever waits. The caller holds mu.
func (b *buffer) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// minPerPart is what each partition may buffer however many there are.
const minPerPart = 256 << 10

// find returns a partition, made if need be. The caller holds mu.
func (b *buffer) find(number int32) *partition {
	p := b.byNum[number]
	if p == nil {
		p = &partition{number: number, leader: leader{number, -1, -1}, stable: -1, high: -1, end: -1, maxBytes: partitionBytes}
		b.byNum[number] = p
		b.parts = append(b.parts, p)
		b.perPart = max(minPerPart, b.maxBytes/int64(len(b.parts)))
	}
	return p
}

// asks are the questions for a broker, and how long it may wait; none if there is nothing to ask. The channel
// is closed when that may have changed.
func (b *buffer) asks(broker int32) (asks []ask, seeks []int, wait time.Duration, changed chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait = longPoll
	b.turn++
	for i := range b.parts {
		// Why in turns: an answer that is full leaves the last ones out.
		p := b.parts[(i+b.turn)%len(b.parts)]
		switch {
		case p.leader.broker != broker || !p.positioned || p.asked || p.recheck || p.err != nil || p.done():
			continue
		case p.bytes >= b.perPart:
			wait = stallPoll
			continue
		}
		p.asked = true
		asks = append(asks, ask{p.number, p.fetched, p.leader.epoch, p.maxBytes})
		seeks = append(seeks, p.seeks)
	}
	return asks, seeks, wait, b.changed
}

// troubles says what keeps the source from being read, "" if nothing does. The caller holds mu.
func (b *buffer) troubles() string {
	first, n := b.trouble, 0
	for _, p := range b.parts {
		if p.trouble == "" {
			continue
		}
		if n++; n == 1 && first == "" {
			first = fmt.Sprintf("partition %d: %s", p.number, p.trouble)
		}
	}
	if n > 1 {
		first = fmt.Sprintf("%s (and %d more)", first, n-1)
	}
	return first
}

// near says that the buffer has what follows m.
func (p *partition) near(m mark) bool {
	return p.base.next == m.next || p.skipped == 0 && p.base.next < m.next && m.next <= p.fetched
}
