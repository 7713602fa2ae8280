package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/planner/ddl"
)

// startServer runs a daemon in a temporary directory until the test ends.
func startServer(t *testing.T, cfg Config, l Launcher) (*Server, *Client) {
	t.Helper()
	if cfg.StateDir == "" {
		cfg.StateDir = t.TempDir()
	}
	cfg.Logger, cfg.Version = quiet(), "test"
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ctx, l) }()
	c := NewClient(s.Socket())
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

// TestAPI walks through a pipeline's life over the Unix socket.
func TestAPI(t *testing.T) {
	l := newFake()
	s, c := startServer(t, Config{}, l)
	ctx := t.Context()
	info, err := os.Stat(s.Socket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket's mode is %v, %v; want 0600", info.Mode(), err)
	}
	spec := Spec{Name: "orders", SQL: "SELECT 1", File: "orders.sql", Dir: "/data", Options: Options{UntilEnd: true, Settings: map[string]string{"max_batch_rows": "10"}}}
	st, err := c.Submit(ctx, spec)
	if err != nil || st.Name != "orders" || st.Plan != "plan-of-orders" || st.Desired != WantRunning {
		t.Fatalf("submit: %+v, %v", st, err)
	}
	if _, err := c.Submit(ctx, spec); codeIn(err) != CodeExists {
		t.Errorf("submit twice: %v", err)
	}
	all, err := c.List(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "orders" {
		t.Fatalf("list: %+v, %v", all, err)
	}
	if st, err = c.Stop(ctx, "orders", StopRequest{}); err != nil || st.State != Stopped || st.Desired != WantStopped {
		t.Fatalf("stop: %+v, %v", st, err)
	}
	if st, err = c.Resume(ctx, "orders"); err != nil || st.Desired != WantRunning {
		t.Fatalf("resume: %+v, %v", st, err)
	}
	if st, err = c.Status(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spec.Options, st.Options); diff != "" || st.Dir != spec.Dir || st.File != spec.File {
		t.Errorf("the status is of another spec: %+v\n%s", st, diff)
	}
	spec.SQL = "SELECT 2"
	if st, err = c.Replace(ctx, spec, false); err != nil || st.Replacement == nil || st.Replacement.Rebuild {
		t.Fatalf("replace: %+v, %v", st, err)
	}
	for st.Replacement.State != Replaced { // the fake's engine ends at once
		if st, err = c.Status(ctx, "orders"); err != nil || st.Replacement.State.Settled() && st.Replacement.State != Replaced {
			t.Fatalf("status: %+v, %v", st.Replacement, err)
		}
	}
	if text, err := c.SQL(ctx, "orders"); err != nil || text != spec.SQL {
		t.Errorf("the new version's text is %q, %v", text, err)
	}
	if _, err := c.CancelReplacement(ctx, "orders"); codeIn(err) != CodeState {
		t.Errorf("cancelling what is done: %v", err)
	}
	d, err := c.Drop(ctx, "orders", DropOptions{KeepTables, true})
	if err != nil || l.dropped["orders"] != (DropOptions{KeepTables, true}) {
		t.Fatalf("drop: %+v, %v", d, err)
	}
	for name, err := range map[string]error{
		"status": errOf(c.Status(ctx, "orders")), "stop": errOf(c.Stop(ctx, "orders", StopRequest{})),
		"replace": errOf(c.Replace(ctx, spec, true)), "cancel": errOf(c.CancelReplacement(ctx, "orders")), "sql": errOf(c.SQL(ctx, "orders")),
		"resume": errOf(c.Resume(ctx, "orders")), "drop": errOf(c.Drop(ctx, "a/b", DropOptions{})),
	} {
		if codeIn(err) != CodeNotFound {
			t.Errorf("%s of an unknown pipeline: %v", name, err)
		}
	}
	v, err := c.Version(ctx)
	if err != nil || v.PID != os.Getpid() || v.API != 1 || v.Version != "test" {
		t.Errorf("version: %+v, %v", v, err)
	}
}

func errOf[T any](_ T, err error) error { return err }

func codeIn(err error) Code {
	var e *Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Code
}

// TestSQLErrorsCross: a client prints what the daemon's planner found, caret and all, and ends with the exit
// code for rejected SQL.
func TestSQLErrorsCross(t *testing.T) {
	l := newFake()
	l.checkErr = badSQL()
	_, c := startServer(t, Config{}, l)
	_, err := c.Submit(t.Context(), Spec{Name: "bad", SQL: "SELEC 1"})
	var sql ddl.Errors
	if !errors.As(err, &sql) || sql[0].Line != 2 || sql[0].Column != 1 {
		t.Fatalf("error %#v", err)
	}
	if err.Error() != badSQL().Error() || sql.Error() != badSQL().Error() || !strings.Contains(err.Error(), "^^^^^") {
		t.Errorf("the message changed on the way:\n%s\nwant:\n%s", err, badSQL())
	}
}

// TestTCP: the token, the host and the origin decide who may ask.
func TestTCP(t *testing.T) {
	s, _ := startServer(t, Config{Listen: "127.0.0.1:0"}, newFake())
	token, err := os.ReadFile(s.TokenPath())
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(s.TokenPath()); info.Mode().Perm() != 0o600 {
		t.Errorf("the token's mode is %v", info.Mode())
	}
	secret := "Bearer " + strings.TrimSpace(string(token))
	_, port, _ := strings.Cut(s.Addr(), ":")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for name, c := range map[string]struct {
		path, auth, host string
		header           map[string]string
		want             int
	}{
		"right":             {"/v1/pipelines", secret, "", nil, 200},
		"localhost":         {"/v1/pipelines", secret, "localhost:" + port, nil, 200},
		"health, no token":  {"/healthz", "", "", nil, 200},
		"no token":          {"/v1/pipelines", "", "", nil, 401},
		"wrong token":       {"/v1/pipelines", "Bearer x", "", nil, 401},
		"wrong scheme":      {"/v1/pipelines", "Basic " + secret[7:], "", nil, 401},
		"rebound host":      {"/v1/pipelines", secret, "evil.example:" + port, nil, 403},
		"other port":        {"/v1/pipelines", secret, "127.0.0.1:1", nil, 403},
		"page's origin":     {"/v1/pipelines", secret, "", map[string]string{"Origin": "https://evil.example"}, 403},
		"null origin":       {"/v1/pipelines", secret, "", map[string]string{"Origin": "null"}, 403},
		"cross-site":        {"/v1/pipelines", secret, "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"page, health":      {"/healthz", "", "evil.example:" + port, nil, 403},
		"own page":          {"/v1/pipelines", secret, "", map[string]string{"Origin": "http://" + s.Addr()}, 200},
		"unknown path":      {"/v2/pipelines", secret, "", nil, 404},
		"unknown, no token": {"/nothing", "", "", nil, 401},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		if c.auth != "" {
			req.Header.Set("Authorization", c.auth)
		}
		for k, v := range c.header {
			req.Header.Set(k, v)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %s, want %d: %s", name, res.Status, c.want, body)
		}
	}
	c := NewTCPClient(s.Addr(), strings.TrimSpace(string(token)))
	defer c.Close()
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBadRequests: what is not understood is answered with what would be.
func TestBadRequests(t *testing.T) {
	s, c := startServer(t, Config{}, newFake())
	for name, r := range map[string]struct{ kind, body string }{
		"not JSON":       {"application/json", "SELECT 1"},
		"a form":         {"text/plain", `{"name":"x"}`},
		"unknown field":  {"application/json", `{"name":"x","sequel":"SELECT 1"}`},
		"two objects":    {"application/json", `{"name":"x","sql":"SELECT 1"} {}`},
		"wrong type":     {"application/json", `{"name":7}`},
		"endless":        {"application/json", `{"name":"x","sql":"` + strings.Repeat("x", maxBody) + `"}`},
		"too much SQL":   {"application/json", `{"name":"x","sql":"` + strings.Repeat("x", maxSQLBytes+1) + `"}`},
		"bad drop query": {"", ""},
		"rebuild maybe":  {"PUT x?rebuild=maybe", `{"name":"x","sql":"SELECT 1"}`},
		"another name":   {"PUT x", `{"name":"y","sql":"SELECT 1"}`},
		"long version":   {"PUT x", `{"name":"x","sql":"` + strings.Repeat("x", maxSQLBytes+1) + `"}`},
		"a savepoint":    {"PUT x", `{"name":"x","sql":"SELECT 1","options":{"from_savepoint":"s"}}`},
	} {
		method, path := http.MethodPost, "/v1/pipelines"
		if to, put := strings.CutPrefix(r.kind, "PUT "); put {
			method, path, r.kind = http.MethodPut, path+"/"+to, "application/json"
		}
		if r.kind == "" {
			method, path = http.MethodDelete, "/v1/pipelines/x?tables=all"
		}
		req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", r.kind)
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 400 || !strings.Contains(string(body), `"hint"`) {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
	}
	if len(s.fleet.all()) != 0 {
		t.Error("a bad request made a pipeline")
	}
}

func TestNoDaemon(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "sluice.sock"))
	_, err := c.List(t.Context())
	if !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), "sluice serve") {
		t.Errorf("error %v", err)
	}
}

// TestOneDaemon: a second one is refused, a killed one's socket is replaced, anything else is left alone.
func TestOneDaemon(t *testing.T) {
	s, c := startServer(t, Config{}, newFake())
	if _, err := New(Config{StateDir: s.cfg.StateDir, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second daemon on the state directory: %v", err)
	}
	if _, err := New(Config{StateDir: t.TempDir(), Socket: s.Socket(), Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second daemon on the socket: %v", err)
	}
	if _, err := c.List(t.Context()); err != nil {
		t.Errorf("the first daemon is gone: %v", err)
	}
	dir := t.TempDir()
	l, err := listenUnix(SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false) // as a kill leaves it
	l.Close()
	startServer(t, Config{StateDir: dir}, newFake())

	dir = t.TempDir()
	if err := os.WriteFile(SocketPath(dir), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"a file in the way": {StateDir: dir},
		"a long path":       {StateDir: t.TempDir(), Socket: "/tmp/" + strings.Repeat("x", 200)},
		"all interfaces":    {StateDir: t.TempDir(), Listen: "0.0.0.0:0"},
		"a host name":       {StateDir: t.TempDir(), Listen: "localhost:0"},
		"no port":           {StateDir: t.TempDir(), Listen: "127.0.0.1"},
		"relative":          {StateDir: "here"},
	} {
		cfg.Logger = quiet()
		if s, err := New(cfg); err == nil {
			s.Close()
			t.Errorf("%s was accepted", name)
		}
	}
	if !exists(SocketPath(dir)) {
		t.Error("somebody's file was removed")
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	first, err := loadToken(path)
	if err != nil || len(first) != 2*tokenBytes {
		t.Fatalf("token %q, %v", first, err)
	}
	if again, err := loadToken(path); err != nil || again != first {
		t.Errorf("the token changed: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadToken(path); err == nil {
		t.Error("a token that others can read was accepted")
	}
}

// TestSplit takes messages of every package apart.
func TestSplit(t *testing.T) {
	for text, want := range map[string]*Error{
		"plain":                                {Message: "plain"},
		"a: b\nHint: c":                        {Message: "a: b", Hint: "c"},
		"a\nDetail: b\nmore\nHint: c\nd":       {Message: "a", Detail: "b\nmore", Hint: "c\nd"},
		"a\nhint: b":                           {Message: "a", Hint: "b"},
		"a\nHint: b\nclose: c\nHint: d":        {Message: "a", Hint: "b\nclose: c\nHint: d"},
		"connect: refused\nContext: line 1: x": {Message: "connect: refused\nContext: line 1: x"},
	} {
		if diff := cmp.Diff(want, split(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
