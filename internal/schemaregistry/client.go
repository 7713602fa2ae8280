// Package schemaregistry asks a Confluent Schema Registry, or one that speaks its protocol, what schema ids stand for.
//
// An id never changes its meaning, so answers are kept for good: a registry is asked once for each id, and a
// reader that has seen all ids of its topic no longer needs it.
package schemaregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// ErrUnknown marks (errors.Is) the registry's own answer that it does not have a schema. All other errors say
// that there was no answer, or none that says so: the same call may succeed later.
var ErrUnknown = errors.New("the schema registry does not have it")

// The types of schemas.
const (
	Avro     = "AVRO"
	Protobuf = "PROTOBUF"
	JSON     = "JSON"
)

// maxKnown bounds the answers that are kept: a topic of other messages is full of ids that are none.
const maxKnown = 10_000

// Options say where a registry is and who asks. The zero value of each field means its default.
type Options struct {
	// URL is where the registry is, or several of one cluster, separated by commas. Required.
	URL string
	// User and Password are for basic authentication; PasswordFile is read for the password, without its line end.
	// Default to those in URL, and else to none.
	User, Password, PasswordFile string
	// TLS is for https. Defaults to the system's certificates.
	TLS *tls.Config
	// Timeout bounds each request. Defaults to 10 seconds.
	Timeout time.Duration
	// UnknownFor is how long the answer that there is no such schema is kept. Defaults to 10 seconds.
	UnknownFor time.Duration
}

// A Schema is one version of a schema, with what it refers to.
type Schema struct {
	// Type is Avro, Protobuf or JSON.
	Type string
	Text string
	// References are what the schema needs, directly or not, each after those that it needs itself.
	References []Reference
}

// A Reference is a schema that others refer to by a name: a type's in Avro, an import's path in Protobuf.
type Reference struct {
	Name string
	Text string
}

// Client asks a registry. It may be used by several goroutines.
type Client struct {
	opt Options
	sr  *sr.Client
	at  string // the URLs, without credentials

	mu    sync.Mutex
	known map[int]*answer
}

// An answer is what the registry said about an id.
type answer struct {
	schema *Schema
	err    error     // ErrUnknown
	until  time.Time // of an error
}

// New checks the options and returns a client. Nothing is asked yet.
func New(o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.UnknownFor == 0 {
		o.UnknownFor = 10 * time.Second
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.PasswordFile != "" {
		text, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("schema_registry_password_file = '%s' cannot be read: %w", o.PasswordFile, err)
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	c := &Client{known: map[int]*answer{}}
	var urls []string
	for text := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			panic("schemaregistry: a URL that was valid is not")
		}
		if u.User != nil && o.User == "" {
			o.User = u.User.Username()
			o.Password, _ = u.User.Password()
		}
		u.User = nil
		urls = append(urls, strings.TrimSuffix(u.String(), "/"))
	}
	c.opt, c.at = o, strings.Join(urls, ", ")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	opts := []sr.ClientOpt{sr.URLs(urls...), sr.UserAgent("sluice"), sr.HTTPClient(&http.Client{Timeout: o.Timeout, Transport: transport})}
	if o.User != "" || o.Password != "" {
		opts = append(opts, sr.BasicAuth(o.User, o.Password))
	}
	var err error
	if c.sr, err = sr.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("schema registry %s: %w", c.at, err)
	}
	return c, nil
}

// Validate returns all that is wrong, joined. Each message begins with the option that it is about and " = ".
func (o Options) Validate() error {
	var errs []error
	for text := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			// Why: what is no URL may still have a password in it.
			errs = append(errs, errors.New("schema_registry = '…' is not the address of a schema registry\nHint: write schema_registry = 'http://HOST:8081'"))
		}
	}
	if o.Password != "" && o.PasswordFile != "" {
		errs = append(errs, fmt.Errorf("schema_registry_password_file = '%s' is given beside schema_registry_password\nHint: remove one of them", o.PasswordFile))
	}
	if o.User == "" && (o.Password != "" || o.PasswordFile != "") {
		errs = append(errs, errors.New("schema_registry_user = '' names nobody, and a password is given"))
	}
	return errors.Join(errs...)
}

// ByID returns the schema of an id, which must not be changed.
func (c *Client) ByID(ctx context.Context, id int) (*Schema, error) {
	c.mu.Lock()
	a := c.known[id]
	c.mu.Unlock()
	if a != nil && (a.err == nil || time.Now().Before(a.until)) {
		return a.schema, a.err
	}
	s, err := c.fetch(ctx, id)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[id] = &answer{s, err, time.Now().Add(c.opt.UnknownFor)}
	return s, err
}

func (c *Client) fetch(ctx context.Context, id int) (*Schema, error) {
	got, err := c.sr.SchemaByID(ctx, id)
	if err != nil {
		return nil, c.explain(fmt.Sprintf("get schema %d", id), err)
	}
	s := &Schema{Type: got.Type.String(), Text: got.Schema}
	if err := c.references(ctx, s, got.References, map[string]bool{}); err != nil {
		return nil, err
	}
	return s, nil
}

// references gets what a schema refers to, the innermost first.
func (c *Client) references(ctx context.Context, s *Schema, refs []sr.SchemaReference, seen map[string]bool) error {
	for _, r := range refs {
		if seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		// Why ShowDeleted: what an id needs stays readable when its subject is deleted.
		got, err := c.sr.SchemaByVersion(sr.WithParams(ctx, sr.ShowDeleted), r.Subject, r.Version)
		if err != nil {
			return c.explain(fmt.Sprintf("get version %d of subject %s, which a schema refers to as %s", r.Version, r.Subject, r.Name), err)
		}
		if err := c.references(ctx, s, got.References, seen); err != nil {
			return err
		}
		s.References = append(s.References, Reference{Name: r.Name, Text: got.Schema.Schema})
	}
	return nil
}

// Register makes a schema the newest version of a subject, unless it is one already, and returns its id.
func (c *Client) Register(ctx context.Context, subject, typ, text string) (id int, err error) {
	s := sr.Schema{Schema: text}
	if err := s.Type.UnmarshalText([]byte(typ)); err != nil {
		return 0, fmt.Errorf("schema registry %s: %w", c.at, err)
	}
	id, err = c.sr.RegisterSchema(ctx, subject, s, -1, -1)
	if err != nil {
		return 0, c.explain("register a schema for subject "+subject, err)
	}
	return id, nil
}

// explain says what was attempted and what to do.
func (c *Client) explain(what string, err error) error {
	if c.opt.Password != "" {
		// The client never prints it; a server's answer might.
		err = redacted{err, c.opt.Password}
	}
	hint := "start the registry, or correct schema_registry; nothing is lost: the batch is tried again"
	var r *sr.ResponseError
	if errors.As(err, &r) {
		switch {
		case r.ErrorCode == sr.ErrSchemaNotFound.Code, r.ErrorCode == sr.ErrSubjectNotFound.Code, r.ErrorCode == sr.ErrVersionNotFound.Code:
			return fmt.Errorf("schema registry %s: %s: %w: %w", c.at, what, ErrUnknown, err)
		case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden:
			hint = "correct schema_registry_user and schema_registry_password; nothing is lost: the batch is tried again"
		case r.StatusCode == http.StatusNotFound:
			hint = "the address answers, but is no schema registry: correct schema_registry; nothing is lost: the batch is tried again"
		case r.ErrorCode == sr.ErrIncompatibleSchema.Code, r.StatusCode == http.StatusConflict:
			hint = "the registry's compatibility level refuses the schema: change the view, the level, or the subject"
		}
	}
	return fmt.Errorf("schema registry %s: %s: %w\nHint: %s", c.at, what, err, hint)
}

// redacted is an error without a secret in its text.
type redacted struct {
	error
	secret string
}

func (r redacted) Error() string { return strings.ReplaceAll(r.error.Error(), r.secret, "***") }
func (r redacted) Unwrap() error { return r.error }
