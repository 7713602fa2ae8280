package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// ErrNoDaemon marks (errors.Is) a request that nobody was there to take.
var ErrNoDaemon = errors.New("no sluice daemon")

// Client asks a daemon. Its errors are *Error where the daemon answered with one.
type Client struct {
	http  *http.Client
	base  string
	where string // for messages
	token string
}

// NewClient returns a client of the daemon on a Unix socket.
func NewClient(socket string) *Client {
	var d net.Dialer
	return newClient("http://sluice", socket, "", func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socket)
	})
}

// NewTCPClient returns a client of the daemon on a TCP address; the token is in the daemon's state directory.
func NewTCPClient(address, token string) *Client {
	return newClient("http://"+address, address, token, new(net.Dialer).DialContext)
}

func newClient(base, where, token string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	// Why no proxy: the token must not leave the machine, whatever HTTP_PROXY says.
	t := &http.Transport{DialContext: dial, MaxIdleConns: 2, IdleConnTimeout: time.Minute}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{http: &http.Client{Transport: t, CheckRedirect: refuse}, base: base, where: where, token: token}
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Submit sends a pipeline and returns once it is accepted.
func (c *Client) Submit(ctx context.Context, s Spec) (st Status, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/pipelines", s, &st)
	return st, err
}

// Replace sends a new version of a pipeline that is there and returns once it is on its way; Status has how far. With
// rebuild it may compute its tables anew.
func (c *Client) Replace(ctx context.Context, s Spec, rebuild bool) (st Status, err error) {
	err = c.call(ctx, http.MethodPut, fmt.Sprintf("%s?rebuild=%t", pipelinePath(s.Name), rebuild), s, &st)
	return st, err
}

// CancelReplacement gives a new version up; the one before goes on.
func (c *Client) CancelReplacement(ctx context.Context, name string) (st Status, err error) {
	err = c.call(ctx, http.MethodDelete, pipelinePath(name)+"/replacement", nil, &st)
	return st, err
}

// SQL returns the file that was submitted.
func (c *Client) SQL(ctx context.Context, name string) (text string, err error) {
	err = c.call(ctx, http.MethodGet, pipelinePath(name)+"/sql", nil, &text)
	return text, err
}

// List returns all pipelines, by name.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	var l list
	err := c.call(ctx, http.MethodGet, "/v1/pipelines", nil, &l)
	return l.Pipelines, err
}

// Status returns one pipeline.
func (c *Client) Status(ctx context.Context, name string) (st Status, err error) {
	err = c.call(ctx, http.MethodGet, pipelinePath(name), nil, &st)
	return st, err
}

// Stop stops a pipeline. The status may say "stopping" when the batch takes long.
func (c *Client) Stop(ctx context.Context, name string, r StopRequest) (st Status, err error) {
	err = c.call(ctx, http.MethodPost, pipelinePath(name)+"/stop", r, &st)
	return st, err
}

// Resume starts a stopped, finished or failed pipeline where it was.
func (c *Client) Resume(ctx context.Context, name string) (st Status, err error) {
	err = c.call(ctx, http.MethodPost, pipelinePath(name)+"/resume", nil, &st)
	return st, err
}

// Drop removes a pipeline.
func (c *Client) Drop(ctx context.Context, name string, how DropOptions) (d Dropped, err error) {
	query := "?tables=" + url.QueryEscape(string(how.Tables))
	if how.KeepRemote {
		query += "&remote=keep"
	}
	err = c.call(ctx, http.MethodDelete, pipelinePath(name)+query, nil, &d)
	return d, err
}

// Version returns what runs there.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/version", nil, &v)
	return v, err
}

func pipelinePath(name string) string { return "/v1/pipelines/" + url.PathEscape(name) }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, send)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if text, ok := into.(*string); ok && res.StatusCode/100 == 2 {
		*text = string(answer)
		return nil
	}
	if res.StatusCode/100 == 2 {
		if err := json.Unmarshal(answer, into); err != nil {
			return fmt.Errorf("read the daemon's answer: %w\nHint: is the daemon as new as this command? `sluice version` tells", err)
		}
		return nil
	}
	e := &Error{}
	if err := json.Unmarshal(answer, e); err != nil || e.Message == "" {
		return fmt.Errorf("the daemon at %s answered %s\nHint: is it a sluice daemon?", c.where, res.Status)
	}
	return e
}

func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s\nHint: start one with `sluice serve`, or name the right one with --socket or --state-dir", ErrNoDaemon, c.where)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the sluice daemon at %s belongs to another user: %w", c.where, err)
	}
	return fmt.Errorf("ask the sluice daemon at %s: %w\nHint: it may just have ended; its own log tells", c.where, err)
}
