package faulttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

const postedSQL = `
SET trigger_interval = '20ms';
SET max_batch_rows = 40;
SET snapshot_log_bytes = '4KiB';
SET log_segment_bytes = '6KiB';
SET keep_snapshots = 2;
CREATE SOURCE event (post VARCHAR, n BIGINT, key VARCHAR METADATA FROM 'idempotency_key') WITH (connector = 'http', listen = 'ADDRESS');
CREATE MATERIALIZED VIEW posts AS SELECT post, count(*) AS n, count(DISTINCT n) AS different, count(DISTINCT key) AS keys FROM event GROUP BY post;
`

// newPosted makes a pipeline that rows are posted to, at an address that stays the same over its lives.
func newPosted(t testing.TB) (*pipeline, string) {
	t.Helper()
	address := freeAddress(t)
	p := newPipeline(t, pgtest.URL(t), strings.ReplaceAll(postedSQL, "ADDRESS", address), nil)
	return p, "http://" + address + "/v1/ingest/" + p.name + "/event"
}

var lastPort = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(20000 + int64(os.Getpid()%120)*100)
	return &n
}()

// freeAddress returns an address that nobody else is given while its engine is dead.
//
// Why no port of the system's choice: those are given to the next who asks.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		if l, err := net.Listen("tcp", address); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// A poster is a client with posts to get through, one after the other, each with a key of its own.
type poster struct {
	name, url string
	posts     int
	// once gives a post up at its first failure, as a client without a disk might.
	once bool
	// sockets are those of daemons, of which it goes to the next when one does not take a post. Defaults to none: url
	// says it all.
	sockets []string

	client  http.Client
	acked   []string
	unsure  []string // sent, and given up
	retries int
}

func (c *poster) post(i int) string { return fmt.Sprintf("%s %d", c.name, i) }

// rowsOf is how many rows a post has.
func rowsOf(i int) int { return 1 + i%7 }

// send tries one post once.
func (c *poster) send(i int) bool {
	var body strings.Builder
	for n := range rowsOf(i) {
		fmt.Fprintf(&body, `{"post": %q, "n": %d}`+"\n", c.post(i), n)
	}
	r, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(body.String()))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Idempotency-Key", c.post(i))
	res, err := c.client.Do(r)
	if err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK {
		return true
	}
	c.client.CloseIdleConnections()
	if len(c.sockets) > 0 {
		c.sockets = append(c.sockets[1:], c.sockets[0])
	}
	return false
}

// run posts until all is acknowledged or given up, or stop is closed.
func (c *poster) run(stop <-chan struct{}) {
	c.client.Timeout = 5 * time.Second
	if len(c.sockets) > 0 {
		c.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.sockets[0])
		}}
	}
	defer c.client.CloseIdleConnections()
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for i := len(c.acked) + len(c.unsure); i < c.posts; {
		select {
		case <-stop:
			return
		case <-pause.C:
		}
		switch {
		case c.send(i):
			c.acked = append(c.acked, c.post(i))
			i++
		case c.once:
			c.unsure = append(c.unsure, c.post(i))
			i++
		default:
			c.retries++
		}
	}
}

// finishPosted reads what was posted, proves it, and wants every acknowledged post there once and whole, and every other
// not at all or the same.
func (p *pipeline) finishPosted(t testing.TB, clients ...*poster) {
	t.Helper()
	p.mustRun(t)
	p.verify(t)
	p.replay(t)
	got := map[string]string{}
	for _, row := range pgtest.Rows(t, p.url, "SELECT post, n, different, keys FROM posts") {
		post, rest, _ := strings.Cut(row, "|")
		got[post] = rest
	}
	want := map[string]string{}
	for _, c := range clients {
		for i := range len(c.acked) + len(c.unsure) {
			if _, there := got[c.post(i)]; there || slices.Contains(c.acked, c.post(i)) {
				want[c.post(i)] = fmt.Sprintf("%d|%[1]d|1", rowsOf(i))
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the posts in the table (-want +got):\n%s", diff)
	}
}

// TestPostedKills: clients post, and retry with their keys, to an engine that is killed at random instants.
func TestPostedKills(t *testing.T) {
	t.Parallel()
	p, url := newPosted(t)
	clients := []*poster{{name: "a", url: url, posts: 150}, {name: "b", url: url, posts: 150}, {name: "c", url: url, posts: 100000, once: true}}
	stop := make(chan struct{})
	var patient, rash sync.WaitGroup
	for _, c := range clients[:2] {
		patient.Go(func() { c.run(nil) })
	}
	rash.Go(func() { clients[2].run(stop) })
	kills := 5
	if testing.Short() {
		kills = 2
	}
	for range kills {
		c := p.start(t, "", "run", p.file())
		if !c.livesFor(t, time.Duration(100+rand.IntN(400))*time.Millisecond) {
			t.Fatal(c.wait(t))
		}
		c.signal(t, syscall.SIGKILL)
		c.wait(t)
	}
	c := p.start(t, "", "run", p.file())
	patient.Wait()
	close(stop)
	rash.Wait()
	c.signal(t, syscall.SIGTERM)
	c.wait(t)
	if len(clients[2].acked) == 0 || len(clients[2].unsure) == 0 || clients[0].retries == 0 {
		t.Errorf("the kills hit nothing: %d acknowledged, %d given up, %d retries", len(clients[2].acked), len(clients[2].unsure), clients[0].retries)
	}
	p.finishPosted(t, clients...)
}

// ofPosts says that a point is passed only with rows that are posted; TestPostedCrashMatrix reaches it.
func ofPosts(point string) bool { return strings.HasPrefix(point, "intake.") }

// TestPostedCrashMatrix: from HTTP to PostgreSQL. The engine dies or fails wherever it can while a client posts and
// retries; what is there in the end is what an undisturbed run makes of the same posts.
func TestPostedCrashMatrix(t *testing.T) {
	t.Parallel()
	p, url := newPosted(t)
	client := &poster{name: "a", url: url, posts: matrixPosts}
	p.postAll(t, life{}, client)
	p.finishPosted(t, client)
	want := postsIn(t, p.url)
	first := func(point string) bool { return point == "ingest.segment.after_create" } // which only a first start passes
	matrix{
		points: pointsOf(t, first, ofPosts, ofTables, ofEngine, ofPostgres),
		fails:  func(point string) bool { return ofPosts(point) || ofTables(point) },
		fresh: func(t testing.TB) *subject {
			p, url := newPosted(t)
			p.write(t, p.name+".sql", []byte(strings.Replace(p.read(t), "max_batch_rows = 40", "max_batch_rows = 10", 1)))
			client := &poster{name: "a", url: url, posts: matrixPosts}
			return &subject{pipeline: p,
				feed: func(t testing.TB, l life) bool {
					if l.point == "ingest.open.after_copy" { // which takes a torn tail to pass
						if len(client.acked) == 0 {
							p.postAll(t, life{}, &poster{name: "a", url: url, posts: 5})
						}
						p.tearIngested(t)
					}
					return len(client.acked) < client.posts && !first(l.point)
				},
				live: func(t testing.TB, l life) ([]string, result) {
					if len(client.acked) == client.posts {
						return nil, result{}
					}
					c := p.postAll(t, l, client)
					text, _ := os.ReadFile(c.trace)
					r := c.wait(t)
					if r.code == 130 && len(text) == 0 {
						r.code = 0 // it was stopped, as nothing was left to post
					}
					return strings.Fields(string(text)), r
				},
				check: func(t *testing.T, l life, r result) {
					if ofPosts(l.point) && l.action == "error" {
						r.mustFail(t, 130, "injected by a failpoint", l.point) // it was stopped, and says what went wrong then
					} else {
						p.checkDeath(t, l.point, l.action, r)
					}
				},
				finish: func(t *testing.T) {
					if len(client.acked) < client.posts {
						p.postAll(t, life{}, client)
					}
					p.finishPosted(t, client)
					if diff := cmp.Diff(want, postsIn(t, p.url)); diff != "" {
						t.Errorf("the posts differ from those of an undisturbed run (-want +got):\n%s", diff)
					}
				}}
		},
	}.run(t)
}

// matrixPosts are enough for some lives of an engine.
const matrixPosts = 400

func postsIn(t testing.TB, url string) []string {
	t.Helper()
	return pgtest.Rows(t, url, "SELECT * FROM posts ORDER BY post")
}

// postAll runs the engine until the client got its posts through, and stops it, unless it ends by itself. If a point is
// armed there are some posts, and they are waited for in the table; but points of the posts' log are passed by an engine that is stopped.
func (p *pipeline) postAll(t testing.TB, l life, client *poster) *process {
	t.Helper()
	spec, all := "", client.posts
	if l.point != "" {
		spec, client.posts = l.String(), min(all, len(client.acked)+40)
	}
	if ofPosts(l.point) || atEnd(l.point) != "" {
		client.posts = min(all, len(client.acked)+5)
	}
	c := p.start(t, spec, "run", p.file())
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		client.run(stop)
	}()
	over := func() bool {
		select {
		case <-done:
			return l.point == "" || ofPosts(l.point) || p.count(t, "posts") == len(client.acked)
		default:
			return false
		}
	}
	lives := true
	for lives && !over() {
		lives = c.livesFor(t, 10*time.Millisecond)
	}
	close(stop)
	<-done
	client.posts = all
	if lives {
		c.signal(t, syscall.SIGTERM)
		if r := c.wait(t); l.point == "" && r.code != 130 {
			t.Errorf("the engine was stopped:\n%v", r)
		}
	}
	return c
}

// count is how many rows a table has that may not be there yet.
func (p *pipeline) count(t testing.TB, table string) (n int) {
	t.Helper()
	if pgtest.Rows(t, p.url, "SELECT to_regclass('"+table+"') IS NOT NULL")[0] == "t" {
		fmt.Sscan(pgtest.Rows(t, p.url, "SELECT count(*) FROM "+table)[0], &n)
	}
	return n
}

// TestPostedStandby: a daemon is paused while clients post, another takes the pipeline over, and the first wakes up. What
// either acknowledged is there once.
func TestPostedStandby(t *testing.T) {
	t.Parallel()
	two := newPair(t, strings.ReplaceAll(postedSQL, ", listen = 'ADDRESS'", ""), nil)
	const url = "http://sluice/v1/ingest/faults/event"
	socket := func(p *pipeline) string { return filepath.Join(p.state, "sluice.sock") }
	patient := &poster{name: "a", url: url, posts: 300, sockets: []string{socket(two.a), socket(two.b)}}
	loyal := &poster{name: "b", url: url, posts: 100000, once: true, sockets: []string{socket(two.a)}}
	a := two.a.serve(t, "")
	if r := two.a.sluice(t, nil, "submit", two.a.file(), "--detach"); r.code != 0 {
		t.Fatal(r)
	}
	b := two.b.serve(t, "", "--standby", two.a.state)
	two.b.awaitState(t, "standby")
	done, stop := make(chan struct{}), make(chan struct{})
	var rest sync.WaitGroup
	go func() {
		defer close(done)
		patient.run(nil)
	}()
	rest.Go(func() { loyal.run(stop) })
	two.a.awaitState(t, "running")
	eventually(t, "a batch", func() bool { return len(pgtest.Rows(t, two.a.url, "SELECT post FROM posts LIMIT 1")) > 0 })
	epoch := two.b.epoch(t)
	a.signal(t, syscall.SIGSTOP)
	eventually(t, "takeover", func() bool { return two.b.epoch(t) != epoch })
	a.signal(t, syscall.SIGCONT)
	if r := a.wait(t); r.code != 5 {
		t.Errorf("the daemon that was taken over from: %v", r)
	}
	<-done
	close(stop)
	rest.Wait()
	b.signal(t, syscall.SIGTERM)
	if r := b.wait(t); r.code != 0 {
		t.Error(r)
	}
	if len(loyal.acked) == 0 || patient.retries == 0 {
		t.Errorf("the takeover hit nothing: %d acknowledged by the first, %d retries", len(loyal.acked), patient.retries)
	}
	two.b.finishPosted(t, patient, loyal)
}
