package kafkatest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// A Network is the way from a client to the brokers, which breaks when it is told to. Dial is for the client's
// options.
type Network struct {
	mu    sync.Mutex
	cond  *sync.Cond
	mode  string // "" until the operation before which it breaks
	next  string // what it will be then
	left  int    // operations until then
	hit   func()
	conns map[*conn]bool
}

// What a Network can do.
const (
	Cut        = "cut"        // connections break before the request is sent, and none is made
	Unanswered = "unanswered" // the request arrives; its connection breaks before the answer does, and others with it
	Stalled    = "stalled"    // requests arrive, and nothing comes back
	Slow       = "slow"       // what comes back comes in small pieces
)

// NewNetwork returns one that works.
func NewNetwork() *Network {
	n := &Network{conns: map[*conn]bool{}}
	n.cond = sync.NewCond(&n.mu)
	return n
}

// Break lets the n-th request from now on, and what comes after it, meet a fault, and tells hit when it does.
func (n *Network) Break(mode string, nth int, hit func()) (mend func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mode, n.next, n.left, n.hit = "", mode, nth, hit
	return n.mend
}

// Set has every connection meet a fault at once.
func (n *Network) Set(mode string) (mend func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mode, n.left = mode, 0
	if mode == Cut {
		n.cut(nil)
	}
	return n.mend
}

// cut breaks all connections but one; mu is held.
func (n *Network) cut(except *conn) {
	for c := range n.conns {
		if c != except {
			_ = c.Conn.Close()
		}
	}
}

func (n *Network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mode, n.next, n.left = "", "", 0
	n.cond.Broadcast()
}

var errCut = errors.New("the network is cut")

// Dial connects to a broker.
func (n *Network) Dial(ctx context.Context, network, host string) (net.Conn, error) {
	n.mu.Lock()
	mode := n.mode
	n.mu.Unlock()
	if mode == Cut || mode == Unanswered {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errCut}
	}
	inner, err := (&net.Dialer{}).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, n: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = true
	return c, nil
}

// request counts one, and says what it meets.
func (n *Network) request(c *conn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left > 0 {
		if n.left--; n.left == 0 {
			n.mode = n.next
			n.hit()
			c.doomed = n.mode == Unanswered
			if n.mode == Cut || n.mode == Unanswered {
				n.cut(c)
			}
			if n.mode != Cut {
				return nil
			}
			_ = c.Conn.Close()
			return errCut
		}
	}
	return nil
}

type conn struct {
	net.Conn
	n      *Network
	closed bool
	doomed bool // the next answer is the one to be lost
}

// Write sends a request: the client does so in one piece.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.n.request(c); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	slow := c.n.mode == Slow
	c.n.mu.Unlock()
	if slow && len(p) > 100 {
		p = p[:100]
	}
	got, err := c.Conn.Read(p)
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for c.n.mode == Stalled && !c.closed && err == nil {
		c.n.cond.Wait()
	}
	if c.doomed && err == nil {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return got, err
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	c.closed = true
	delete(c.n.conns, c)
	c.n.cond.Broadcast()
	c.n.mu.Unlock()
	return c.Conn.Close()
}
