package http

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/intake"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var columns = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "name", Type: vector.Of(vector.Varchar)}}

// endpoint is a source that is reached over real connections.
type endpoint struct {
	*httptest.Server
	inbox   *intake.Inbox
	handler *Handler
}

func newEndpoint(t testing.TB, fsys vfs.FS, o Options, in intake.Options) *endpoint {
	t.Helper()
	if o.Rows.Messages.Format == "" {
		o.Rows.Messages.Format = "json"
	}
	o.Name, o.Rows.Name, o.Rows.Messages.Fields, o.Logger = "orders", "orders", columns, slog.New(slog.DiscardHandler)
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	in.Dir, in.FS, in.Logger = "/in", fsys, o.Logger
	b, err := intake.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{handler: h, inbox: b}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.Ingest(w, r, b) }))
	t.Cleanup(func() {
		e.Close()
		_ = b.Close()
	})
	return e
}

// answer is an answer of either kind.
type answer struct {
	Rows     json.RawMessage
	From, To int64
	Message  string `json:"error"`
	Code     string
	Rejected int
	status   int
	header   http.Header
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s %d–%d %s", a.status, a.Rows, a.From, a.To, a.Code)
}

// post sends a body; headers are pairs.
func (e *endpoint) post(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	a, err := e.send(strings.NewReader(body), headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (e *endpoint) send(body io.Reader, headers ...string) (a answer, err error) {
	r, err := http.NewRequest(http.MethodPost, e.URL, body)
	if err != nil {
		return a, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := e.Client().Do(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	return a, json.NewDecoder(res.Body).Decode(&a)
}

// read returns the rows that an engine would read.
func (e *endpoint) read(t testing.TB) []string {
	t.Helper()
	s, err := intake.NewSource(e.inbox, e.handler.opt.Rows)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Poll(t.Context(), nil, microbatch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	out := sourcetest.RenderAll(r.Chunks)
	for _, bad := range r.Bad {
		out = append(out, fmt.Sprintf("bad %d: %s", bad.Offset, bad.Raw))
	}
	return out
}

func packed(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const two = `{"id": 1, "name": "a"}` + "\n" + `{"id": 2, "name": "b"}` + "\n"

// TestForms is a table of bodies that hold the same two rows.
func TestForms(t *testing.T) {
	for _, c := range []struct {
		name, format, body string
		headers            []string
	}{
		{"lines", "json", two, []string{"Content-Type", "application/x-ndjson"}},
		{"lines as curl sends them", "json", two, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"no type", "json", two, nil},
		{"blank lines, CR LF, no line end", "json", "\xef\xbb\xbf\n" + strings.TrimSpace(strings.ReplaceAll(two, "\n", "\r\n \r\n")), nil},
		{"an array", "json", "[" + strings.Replace(strings.TrimSpace(two), "\n", ",", 1) + "]", []string{"Content-Type", "application/json; charset=utf-8"}},
		{"an array over lines", "json", "\n[\n {\"id\":\n 1, \"name\": \"a\"}\n,{\"id\": 2, \"name\": \"b\"}\n]\n", []string{"Content-Type", "application/json"}},
		{"an array called lines", "json", `[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]`, []string{"Content-Type", "application/x-ndjson"}},
		{"texts one after the other", "json", "{\"id\":\n1, \"name\": \"a\"} {\"id\": 2, \"name\": \"b\"}", []string{"Content-Type", "application/json"}},
		{"gzip", "json", packed(t, two), []string{"Content-Encoding", "gzip"}},
		{"csv", "csv", "1,a\n2,b\n", []string{"Content-Type", "text/csv"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{}
			o.Rows.Messages.Format = c.format
			e := newEndpoint(t, vfs.NewMem(), o, intake.Options{})
			if a := e.post(t, c.body, c.headers...); a.status != 200 || a.From != 0 || a.To != 2 || string(a.Rows) != "2" {
				t.Fatalf("got %v %s", a, a.Message)
			}
			if diff := cmp.Diff([]string{`1 | "a" | 0`, `2 | "b" | 1`}, e.read(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefusals is a table of requests that leave nothing behind.
func TestRefusals(t *testing.T) {
	large := `{"id": 3, "name": "` + strings.Repeat("x", 3000) + `"}`
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"no rows", "", nil, 400, "no_rows"},
		{"blank lines", "\n \n", nil, 400, "no_rows"},
		{"an empty array", "[]", nil, 400, "no_rows"},
		{"an array cut off", `[{"id": 1},`, nil, 400, "bad_body"},
		{"a row cut off", `[{"id": 1}, {"id": 2`, nil, 400, "bad_body"},
		{"a string cut off", `["x`, nil, 400, "bad_body"},
		{"no comma", `[{"id": 1} {"id": 2}]`, nil, 400, "bad_body"},
		{"a comma too many", `[{"id": 1},]`, nil, 400, "bad_body"},
		{"commas only", `[,]`, nil, 400, "bad_body"},
		{"brackets only", `}}`, []string{"Content-Type", "application/json"}, 400, "bad_body"},
		{"something behind the array", `[{"id": 1}] {"id": 2}`, nil, 400, "bad_body"},
		{"csv", "1,a\n", []string{"Content-Type", "text/csv"}, 415, "unsupported"},
		{"no type that can be read", "1,a\n", []string{"Content-Type", "a/b/c"}, 415, "unsupported"},
		{"packed otherwise", two, []string{"Content-Encoding", "br"}, 415, "unsupported"},
		{"not packed", two, []string{"Content-Encoding", "gzip"}, 400, "bad_body"},
		{"packed and cut off", packed(t, two)[:20], []string{"Content-Encoding", "gzip"}, 400, "bad_body"},
		{"too large", large + large + large, nil, 413, "too_large"},
		{"a row too large", large, nil, 413, "too_large"},
		{"too large unpacked", packed(t, strings.Repeat(large, 100)), []string{"Content-Encoding", "gzip"}, 413, "too_large"},
		{"a key too long", two, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "bad_key"},
		{"an empty key", two, []string{"Idempotency-Key", ""}, 400, "bad_key"},
		{"a key of other characters", two, []string{"Idempotency-Key", "ü"}, 400, "bad_key"},
		{"a row that cannot be read", two + `{"id": "x"}`, nil, 422, "rows_rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t, vfs.NewMem(), Options{MaxBodyBytes: 5000, MaxRowBytes: 2000}, intake.Options{})
			a := e.post(t, c.body, c.headers...)
			if a.status != c.status || a.Code != c.code || a.Message == "" {
				t.Errorf("got %v %q, want %d %s", a, a.Message, c.status, c.code)
			}
			if e.inbox.End() != 0 {
				t.Errorf("%d rows are there", e.inbox.End())
			}
			if a := e.post(t, two); a.status != 200 {
				t.Errorf("the next request: %v", a)
			}
		})
	}
}

// TestManyRows: rows cost more memory than their bytes, so that their number is bounded, too, and those that were looked at
// are let go.
func TestManyRows(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{})
	for name, body := range map[string]string{"lines": strings.Repeat("{}\n", maxRows+1), "array": "[" + strings.Repeat("{},", maxRows) + "{}]"} {
		if a := e.post(t, body); a.status != 413 || a.Code != "too_large" || !strings.Contains(a.Message, "rows") {
			t.Errorf("%s: got %v %q", name, a, a.Message)
		}
	}
	a := e.post(t, strings.Repeat("{}\n[]\n", checkedRows))
	var shown []BadLine
	if err := json.Unmarshal(a.Rows, &shown); err != nil || a.Rejected != checkedRows || len(shown) != maxShown || shown[1].Line != 4 {
		t.Errorf("%d rejected, shown %+v, %v", a.Rejected, shown, err)
	}
}

// TestRejectedRows: the answer says which lines, and the same body is taken by a source that wants all rows.
func TestRejectedRows(t *testing.T) {
	body := "\n" + two + `{"id": "x"}` + "\n\n" + `{"id": 5}` + "\n" + `{"id": 6,`
	a := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{}).post(t, body)
	var got []BadLine
	if err := json.Unmarshal(a.Rows, &got); err != nil {
		t.Fatal(err)
	}
	if a.Rejected != 2 || len(got) != 2 || got[0].Row != 3 || got[0].Line != 4 || got[1].Row != 5 || got[1].Line != 7 || !strings.Contains(got[0].Reason, "id") {
		t.Errorf("got %d rejected: %+v", a.Rejected, got)
	}
	e := newEndpoint(t, vfs.NewMem(), Options{Validate: Accept}, intake.Options{})
	if a := e.post(t, body); a.status != 200 || a.To != 5 {
		t.Fatalf("got %v", a)
	}
	want := []string{`1 | "a" | 0`, `2 | "b" | 1`, `5 | NULL | 3`, `bad 2: {"id": "x"}`, `bad 4: {"id": 6,`}
	if diff := cmp.Diff(want, e.read(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdempotency(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{})
	first := e.post(t, two, "Idempotency-Key", "k1")
	again := e.post(t, packed(t, two), "Idempotency-Key", "k1", "Content-Encoding", "gzip")
	if again.status != 200 || again.From != first.From || again.To != first.To || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("first %v, again %v", first, again)
	}
	if a := e.post(t, `{"id": 9}`, "Idempotency-Key", "k1"); a.status != 422 || a.Code != "key_reused" {
		t.Errorf("other rows: %v", a)
	}
	if e.inbox.End() != 2 {
		t.Errorf("%d rows are there", e.inbox.End())
	}
}

func TestLagging(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{MaxBacklogBytes: 100})
	e.post(t, two, "Idempotency-Key", "k1")
	a := e.post(t, two)
	if a.status != 429 || a.Code != "lagging" || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v, retry after %q", a, a.header.Get("Retry-After"))
	}
	if a := e.post(t, two, "Idempotency-Key", "k1"); a.status != 200 {
		t.Errorf("a retry of what is durable: %v", a)
	}
	e.read(t)
	if a := e.post(t, two); a.status != 200 {
		t.Errorf("after an engine has read: %v", a)
	}
}

// TestBrokenDisk: what could not be synced is not acknowledged, and nothing more is taken.
func TestBrokenDisk(t *testing.T) {
	var mu sync.Mutex
	broken := false
	e := newEndpoint(t, vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Kind == "sync" {
			return errors.New("disk full")
		}
		return nil
	}), Options{}, intake.Options{})
	e.post(t, two)
	mu.Lock()
	broken = true
	mu.Unlock()
	for range 2 {
		a := e.post(t, two, "Idempotency-Key", "k")
		if a.status != 503 || a.Code != "not_durable" || a.header.Get("Retry-After") == "" || strings.Contains(a.Message, "disk full") {
			t.Errorf("got %v %q", a, a.Message)
		}
	}
}

// TestConcurrentPosts: every client's rows are there, whole and together.
func TestConcurrentPosts(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{})
	const clients, posts = 8, 20
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for p := range posts {
				body := ""
				for row := range 3 {
					body += fmt.Sprintf(`{"id": %d, "name": "%d/%d"}`+"\n", row, c, p)
				}
				for range 2 { // each is retried
					a, err := e.send(strings.NewReader(body), "Idempotency-Key", fmt.Sprintf("%d/%d", c, p))
					if err != nil || a.status != 200 {
						t.Errorf("client %d: %v %v", c, a, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	rows := e.read(t)
	if len(rows) != clients*posts*3 {
		t.Fatalf("%d rows are there", len(rows))
	}
	for i := 0; i < len(rows); i += 3 {
		for j := range 3 {
			id, name, _ := strings.Cut(rows[i+j], " | ")
			_, first, _ := strings.Cut(rows[i], " | ")
			name, _, _ = strings.Cut(name, " | ")
			first, _, _ = strings.Cut(first, " | ")
			if id != fmt.Sprint(j) || name != first {
				t.Fatalf("a post was torn apart: %q", rows[i:i+3])
			}
		}
	}
}

// TestStalledClient: whoever does not send what it announced is answered and hung up on.
func TestStalledClient(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{BodyTimeout: 20 * time.Millisecond}, intake.Options{})
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"id\": 1}"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 408 ") || !strings.Contains(string(got), "did not arrive") {
		t.Errorf("got %q, %v", got, err)
	}
	if e.inbox.End() != 0 {
		t.Error("half a body is there")
	}
}

// TestClientGone: a client that hangs up in the middle of its body leaves nothing.
func TestClientGone(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{}, intake.Options{})
	conn, err := net.Dial("tcp", e.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"+two); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	e.Close() // waits for the request
	if e.inbox.End() != 0 {
		t.Error("half a body is there")
	}
}

// TestMemoryIsShared: bodies that do not fit into memory together are refused before they are read.
func TestMemoryIsShared(t *testing.T) {
	e := newEndpoint(t, vfs.NewMem(), Options{MaxBodyBytes: 1000, MaxMemoryBytes: 1500}, intake.Options{})
	slow, finish := io.Pipe()
	answered := make(chan answer)
	go func() {
		a, err := e.send(slow) // of unknown length: it may become 1000 bytes
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	if _, err := io.WriteString(finish, two[:10]); err != nil { // is being read
		t.Fatal(err)
	}
	for {
		if a := e.post(t, strings.Repeat(two, 15)); a.status == 429 && a.Code == "busy" {
			break // before, the first request was not there yet
		}
	}
	if _, err := io.WriteString(finish, two[10:]); err != nil {
		t.Fatal(err)
	}
	if err := finish.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-answered; a.status != 200 {
		t.Errorf("the slow one: %v", a)
	}
	if a := e.post(t, two); a.status != 200 {
		t.Errorf("afterwards: %v", a)
	}
}

func TestValidate(t *testing.T) {
	o := Options{Name: "s", MaxBodyBytes: 2 << 30, MaxRowBytes: 1 << 30, Listen: "0.0.0.0:80"}
	o.Rows.Messages = decode.MessageOptions{Format: "xml", Fields: columns}
	err := Validate(o)
	for _, want := range []string{"max_body_bytes = ", "max_row_bytes = ", "listen = 0.0.0.0:80 is not a loopback address", "format = 'xml'"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
