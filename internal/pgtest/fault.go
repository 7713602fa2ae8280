package pgtest

import (
	"io"
	"net"
	"sync"
)

// What a Proxy can do from the n-th request on.
const (
	Broken     = "broken"     // connections break before the request is sent, and none is made
	Unanswered = "unanswered" // the request arrives; its connection breaks before the answer does, and others with it
	Stalled    = "stalled"    // requests arrive, and nothing comes back
	Slow       = "slow"       // what goes and comes does so in small pieces
)

// faults are what Break told a proxy.
type faults struct {
	mu   sync.Mutex
	cond *sync.Cond
	mode string
	next string // what mode will be
	left int    // requests until then
	hit  func()
}

// Break lets the n-th request from now on, and what comes after it, meet a fault, and tells hit when it does. A request
// is what wants an answer: a simple query, the end of a pipeline, the end of a COPY.
func (p *Proxy) Break(mode string, nth int, hit func()) (mend func()) {
	f := &p.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.next, f.left, f.hit = "", mode, nth, hit
	return f.mend
}

// Set has every connection meet a fault at once.
func (p *Proxy) Set(mode string) (mend func()) {
	f := &p.faults
	f.mu.Lock()
	f.mode, f.left = mode, 0
	f.mu.Unlock()
	if f.refuses() {
		p.breakAll(nil)
	}
	return f.mend
}

// breakAll breaks all connections but those of one link.
func (p *Proxy) breakAll(except *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if except == nil || c != except.client && c != except.server {
			c.Close()
		}
	}
}

func (f *faults) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode, f.next, f.left = "", "", 0
	f.cond.Broadcast()
}

// refuses says that no connection is made.
func (f *faults) refuses() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode == Broken || f.mode == Unanswered
}

// A link is a client's connection and the one to the server.
type link struct {
	client, server net.Conn
	doomed         bool // the next answer is the one to be lost
	gone           bool // the client is
}

// request counts one, and says whether its link breaks before it is sent.
func (p *Proxy) request(l *link, msg []byte) (broken bool) {
	f := &p.faults
	f.mu.Lock()
	if f.left == 0 || msg[0] != 'Q' && msg[0] != 'S' && msg[0] != 'c' {
		f.mu.Unlock()
		return false
	}
	if f.left--; f.left > 0 {
		f.mu.Unlock()
		return false
	}
	f.mode = f.next
	l.doomed = f.mode == Unanswered
	others, broken := f.mode == Broken || f.mode == Unanswered, f.mode == Broken
	f.hit()
	f.mu.Unlock()
	if others {
		p.breakAll(l)
	}
	return broken
}

// answer waits as long as nothing comes back, and says whether the link is over.
func (f *faults) answer(l *link) (over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.mode == Stalled && !l.gone {
		f.cond.Wait()
	}
	return l.gone || l.doomed
}

// leave is told that a client has gone.
func (f *faults) leave(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.gone = true
	f.cond.Broadcast()
}

// write is w.Write, in pieces if the way is slow.
func (f *faults) write(w io.Writer, msg []byte) error {
	f.mu.Lock()
	slow := f.mode == Slow
	f.mu.Unlock()
	const piece = 50
	for slow && len(msg) > piece {
		if _, err := w.Write(msg[:piece]); err != nil {
			return err
		}
		msg = msg[piece:]
	}
	_, err := w.Write(msg)
	return err
}
