package pgtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Cut says what a Proxy does with the statement that it was armed for.
type Cut int

const (
	// CutBefore breaks both connections; the statement never reaches the server.
	CutBefore Cut = iota + 1
	// CutAfter passes the statement on, waits until the server has answered it, and breaks both
	// connections without passing the answer back.
	CutAfter
	// CutHang breaks the client's connection only: the server's session stays open, in its transaction,
	// and never gets the statement.
	CutHang
	// CutLate breaks the client's connection and leaves the server's open; Deliver sends it the statement.
	CutLate
)

// Proxy passes PostgreSQL connections through and breaks one on command.
type Proxy struct {
	listener net.Listener
	target   string // the server's socket file
	dsn      string

	mu    sync.Mutex
	match string
	cut   Cut
	fired int
	// starting counts the connections that are still to be turned away.
	starting int
	late     []pending
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
	faults   faults
}

type pending struct {
	server net.Conn
	msg    []byte
}

// NewProxy starts a proxy to the database that url names, on 127.0.0.1.
func NewProxy(t testing.TB, url string) *Proxy {
	t.Helper()
	target, err := socketPath(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.dsn = regexp.MustCompile(`host='[^']*' port=\d+`).ReplaceAllString(url,
		fmt.Sprintf("host=127.0.0.1 port=%d", l.Addr().(*net.TCPAddr).Port))
	p.faults.cond = sync.NewCond(&p.faults.mu)
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.close)
	return p
}

// URL returns the connection string through the proxy.
func (p *Proxy) URL() string { return p.dsn }

// Arm makes the next statement whose text contains match (letter case aside) meet cut, once.
func (p *Proxy) Arm(match string, cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match, p.cut = strings.ToLower(match), cut
}

// TurnAway answers the next n connections as a server does that is starting up.
func (p *Proxy) TurnAway(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting = n
}

// turnedAway answers a connection that is one of those.
func (p *Proxy) turnedAway(client net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting == 0 {
		return false
	}
	p.starting--
	defer client.Close()
	if _, err := readMessage(client, false); err != nil {
		return true
	}
	body := "SFATAL\x00VFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"
	msg := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(body)))
	_, _ = client.Write(append(msg, body...)) // a client that has gone needs no answer
	return true
}

// Fired returns how many connections were cut.
func (p *Proxy) Fired() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fired
}

// Deliver sends the statements that CutLate held back, as a slow network does.
func (p *Proxy) Deliver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.late {
		_, _ = l.server.Write(l.msg) // the server may have ended the session: that is the point
	}
	p.late = nil
}

func (p *Proxy) close() {
	p.listener.Close()
	p.faults.mend()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.turnedAway(client) {
			continue
		}
		if p.faults.refuses() {
			client.Close()
			continue
		}
		server, err := net.Dial("unix", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		answers := make(chan struct{}, 1)
		pass := &gate{w: client}
		l := &link{client: client, server: server}
		p.wg.Add(2)
		go func() {
			defer p.wg.Done()
			p.serverToClient(l, pass, answers)
			client.Close()
		}()
		go func() {
			defer p.wg.Done()
			if !p.clientToServer(l, pass, answers) {
				server.Close()
			}
			client.Close()
			p.faults.leave(l)
		}()
	}
}

// gate is a writer that can be shut, after which it swallows.
type gate struct {
	mu   sync.Mutex
	w    io.Writer
	shut bool
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return len(b), nil
	}
	return g.w.Write(b)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

// serverToClient passes answers on and signals each ReadyForQuery.
func (p *Proxy) serverToClient(l *link, client io.Writer, ready chan<- struct{}) {
	for {
		msg, err := readMessage(l.server, true)
		if err != nil {
			return
		}
		if p.faults.answer(l) {
			l.server.Close()
			return
		}
		if err := p.faults.write(client, msg); err != nil {
			return
		}
		if msg[0] == 'Z' {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
	}
}

// clientToServer passes requests on until the armed one; it reports whether the server's connection
// must stay open.
func (p *Proxy) clientToServer(l *link, pass *gate, ready <-chan struct{}) (keep bool) {
	typed := false // the start-up message has no type byte
	for {
		msg, err := readMessage(l.client, typed)
		if err != nil || typed && p.request(l, msg) {
			return false
		}
		typed = true
		server := l.server
		switch p.decide(msg, server) {
		case CutBefore:
			return false
		case CutAfter:
			select { // forget an earlier answer
			case <-ready:
			default:
			}
			pass.close()
			if _, err := server.Write(msg); err == nil {
				<-ready
			}
			return false
		case CutHang, CutLate:
			pass.close()
			return true
		}
		if err := p.faults.write(server, msg); err != nil {
			return false
		}
	}
}

func (p *Proxy) decide(msg []byte, server net.Conn) Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == 0 || (msg[0] != 'Q' && msg[0] != 'P') || !bytes.Contains(bytes.ToLower(msg), []byte(p.match)) {
		return 0
	}
	cut := p.cut
	p.cut, p.fired = 0, p.fired+1
	if cut == CutLate {
		p.late = append(p.late, pending{server: server, msg: msg})
	}
	return cut
}

const maxMessageBytes = 1 << 30

// readMessage reads one protocol message: a type byte (if typed), a length that counts itself, a body.
func readMessage(r io.Reader, typed bool) ([]byte, error) {
	head := make([]byte, 4, 5)
	if typed {
		head = head[:5]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	if n < 0 || n > maxMessageBytes {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	msg := append(head, make([]byte, n)...)
	_, err := io.ReadFull(r, msg[len(head):])
	return msg, err
}
