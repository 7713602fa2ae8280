package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/sluice-sql/sluice/internal/loopback"
	"github.com/sluice-sql/sluice/sources/ingestlog"
	"github.com/sluice-sql/sluice/sources/intake"
)

// Handler answers the requests that bring rows to one source. It may be used by many goroutines.
type Handler struct {
	opt      Options
	memory   budget
	decoders sync.Pool // of decode.MessageDecoder: each is used by one goroutine at a time
}

// New returns the Handler of a source.
func New(o Options) (*Handler, error) {
	if err := Validate(o); err != nil {
		return nil, fmt.Errorf("source %q: %w", o.Name, err)
	}
	o = o.withDefaults()
	return &Handler{opt: o, memory: budget{max: o.MaxMemoryBytes}}, nil
}

// Proven reports whether a request has the source's token. Without one nothing proves anything.
func (h *Handler) Proven(r *http.Request) bool {
	return h.opt.Token != "" && loopback.Bearer(r, h.opt.Token)
}

// Ingest puts a request's rows into the Inbox and answers. Who may send them was found out before.
func (h *Handler) Ingest(w http.ResponseWriter, r *http.Request, b *intake.Inbox) {
	receipt, err := h.ingest(w, r, b)
	if err != nil {
		h.refuse(w, err)
		return
	}
	if receipt.Repeated {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	send(w, http.StatusOK, Accepted{int64(receipt.To - receipt.From), int64(receipt.From), int64(receipt.To)})
}

func (h *Handler) ingest(w http.ResponseWriter, r *http.Request, b *intake.Inbox) (intake.Receipt, error) {
	key, err := keyOf(r)
	if err != nil {
		return intake.Receipt{}, err
	}
	form, err := h.formOf(r)
	if err != nil {
		return intake.Receipt{}, err
	}
	if err := b.Ready(key); err != nil {
		return intake.Receipt{}, err
	}
	release, err := h.reserve(r)
	if err != nil {
		return intake.Receipt{}, err
	}
	defer release()
	body, err := h.read(w, r)
	if err != nil {
		return intake.Receipt{}, err
	}
	rows, err := split(body, form)
	if err == nil {
		err = h.check(rows)
	}
	if err != nil {
		return intake.Receipt{}, err
	}
	return b.Put(r.Context(), intake.Delivery{Key: key, Rows: rows.text})
}

// keyOf reads Idempotency-Key.
func keyOf(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	ok := len(values) == 1 && key != "" && len(key) <= intake.MaxKeyBytes
	for _, c := range []byte(key) {
		ok = ok && c >= ' ' && c < 0x7f
	}
	if !ok {
		return "", problem(http.StatusBadRequest, "bad_key", "send one, of up to 255 printable ASCII characters, new for every body: a UUID will do", "the header Idempotency-Key is not one key")
	}
	return key, nil
}

// refuse answers a request whose rows were not taken, or maybe not.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	var p *Problem
	var lag *intake.LagError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &lag):
		p = problem(http.StatusTooManyRequests, "lagging", "send it again later; the source's option max_backlog_bytes says how much may wait", "%v", lag)
		p.retryAfter = lagSeconds
	case errors.Is(err, intake.ErrKeyReused):
		p = problem(http.StatusUnprocessableEntity, "key_reused", "a retry must send the same rows; other rows need a new key", "the Idempotency-Key was used for other rows")
	case errors.Is(err, ingestlog.ErrMoved):
		p = Unavailable("send it to the daemon that runs the pipeline now, with the same Idempotency-Key", "another daemon goes on with the pipeline")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = problem(http.StatusServiceUnavailable, "canceled", "send it again with the same Idempotency-Key", "the request was given up while it waited")
		p.retryAfter = 1
	default:
		h.opt.Logger.Error("rows that were posted could not be made durable", "source", h.opt.Name, "error", err)
		p = problem(http.StatusServiceUnavailable, "not_durable", "send it again with the same Idempotency-Key: the rows may be there or not", "the rows could not be made durable")
		p.retryAfter = lagSeconds
	}
	p.Answer(w)
}

// lagSeconds is when to try again what waits for the engine or for an operator.
const lagSeconds = 5

// Accepted is the answer to rows that are durable: they are at positions From to To, To not included.
type Accepted struct {
	Rows int64 `json:"rows"`
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Problem is the answer to a request whose rows were not taken.
type Problem struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Code    string `json:"code"`
	// Rejected counts the rows that cannot be read; Rows are the first of them.
	Rejected int       `json:"rejected,omitempty"`
	Rows     []BadLine `json:"rows,omitempty"`

	status     int
	retryAfter int // seconds; 0: not by itself
}

// BadLine is a row that cannot be read. Both numbers count from 1; Line is absent where rows are not lines.
type BadLine struct {
	Row    int    `json:"row"`
	Line   int    `json:"line,omitempty"`
	Reason string `json:"error"`
}

func (p *Problem) Error() string { return p.Message }

func problem(status int, code, hint, format string, args ...any) *Problem {
	return &Problem{Message: fmt.Sprintf(format, args...), Hint: hint, Code: code, status: status}
}

// Unauthorized is the answer to a request without the right token.
func Unauthorized() *Problem {
	return problem(http.StatusUnauthorized, "unauthorized", `send the header "Authorization: Bearer …" with the source's token, or the daemon's`, "the request has no valid token")
}

// Unavailable is the answer while a source takes no rows.
func Unavailable(hint, format string, args ...any) *Problem {
	p := problem(http.StatusServiceUnavailable, "unavailable", hint, format, args...)
	p.retryAfter = lagSeconds
	return p
}

// NotFound is the answer where no source is that takes rows.
func NotFound(hint, format string, args ...any) *Problem {
	return problem(http.StatusNotFound, "not_found", hint, format, args...)
}

// Answer sends the problem.
func (p *Problem) Answer(w http.ResponseWriter) {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
	}
	send(w, p.status, p)
}
