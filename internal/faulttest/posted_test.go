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

// TestPostedCrashMatrix: the engine dies or fails at every point of the log that posts go to, and at a sample of the others,
// while a client posts and retries.
func TestPostedCrashMatrix(t *testing.T) {
	sample := []string{"batch.after_plan", "batch.after_prepare", "log.prepare.after_sync", "sink.commit.after_commit", "sink.commit.before_commit", "batch.after_done"}
	for _, point := range failpoints(t) {
		own := ofPosts(point) || ofTables(point)
		for _, hit := range []int{1, 3} {
			for _, action := range []string{"exit", "error"} {
				switch {
				case !own && (!slices.Contains(sample, point) || action == "error" || hit > 1):
					continue
				case hit > 1 && (testing.Short() || !strings.HasPrefix(point, "ingest.append.")):
					continue
				}
				t.Run(fmt.Sprintf("%s=%s:%d", point, action, hit), func(t *testing.T) {
					t.Parallel()
					postedCrash(t, point, action, hit)
				})
			}
		}
	}
}

func postedCrash(t *testing.T, point, action string, hit int) {
	p, url := newPosted(t)
	client := &poster{name: "a", url: url, posts: 6}
	if point == "ingest.open.after_copy" { // which takes a torn tail to pass
		p.postAll(t, "", client)
		client.posts *= 2
		p.tearPosts(t)
	}
	c := p.postAll(t, fmt.Sprintf("%s=%s:%d", point, action, hit), client)
	if text, err := os.ReadFile(c.trace); err != nil || len(text) == 0 {
		t.Fatalf("%s did not fire: %v\n%v", point, err, c.wait(t))
	}
	if r := c.wait(t); ofPosts(point) && action == "error" {
		r.mustFail(t, 130, "injected by a failpoint", point) // it was stopped, and says what went wrong then
	} else {
		p.checkDeath(t, point, action, r)
	}
	p.verifyPrefix(t)
	client.posts += 3
	p.postAll(t, "", client)
	p.finishPosted(t, client)
}

// postAll runs the engine until the client got its posts through, and stops it, unless it ends by itself.
func (p *pipeline) postAll(t testing.TB, failpoints string, client *poster) *process {
	t.Helper()
	c := p.start(t, failpoints, "run", p.file())
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		client.run(stop)
	}()
	over := func() bool {
		select {
		case <-done:
			return true
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
	switch {
	case failpoints != "" && !ofPosts(failpoints):
		c.wait(t) // it comes to its point by itself
	case lives:
		c.signal(t, syscall.SIGTERM)
		if r := c.wait(t); failpoints == "" && r.code != 130 {
			t.Errorf("the engine was stopped:\n%v", r)
		}
	}
	return c
}

// tearPosts leaves the log of posts as a crash in the middle of a write does.
func (p *pipeline) tearPosts(t testing.TB) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.state, "pipelines", p.name, "tables", "h_event", "*.ing"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("logs %q: %v", paths, err)
	}
	f, err := os.OpenFile(paths[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half a record"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
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
