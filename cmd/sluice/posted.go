package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	httpsource "github.com/sluice-sql/sluice/sources/http"
	"github.com/sluice-sql/sluice/sources/intake"
)

// A postedSource is a source that rows are posted to, with its checked options.
type postedSource struct {
	name  string
	decl  *ddl.Source
	http  httpsource.Options
	inbox intake.Options
	// refuses says that it takes no rows while no engine runs.
	refuses   bool
	tokenFile string
}

// bindHTTP checks the options of a source that rows are posted to.
func (l *loaded) bindHTTP(b *sourceBinding, v ddl.Values) error {
	messages, err := l.messageOptions(b.Source, v)
	if err != nil {
		return err
	}
	s := postedSource{name: b.Name, decl: b.Decl, refuses: v.String("when_stopped") == "refuse"}
	s.http = httpsource.Options{Name: b.Name, Rows: intake.SourceOptions{Name: b.Name, Messages: messages, Partition: "http", Bounded: l.UntilEnd},
		Validate: v.String("validate"), Token: v.String("token"), MaxBodyBytes: v.Bytes("max_body_bytes"), MaxRowBytes: v.Bytes("max_row_bytes"), Listen: v.String("listen")}
	s.inbox = intake.Options{MaxBacklogBytes: v.Bytes("max_backlog_bytes"), MaxKeys: int(v.Int("idempotency_keys")), MaxKeyAge: v.Duration("idempotency_window"),
		Retention: v.Duration("retention"), RetentionBytes: v.Bytes("retention_bytes")}
	if file := v.String("token_file"); file != "" {
		if s.http.Token != "" {
			return v.Errorf("token_file", "token and token_file are both given").WithHint("remove one")
		}
		s.tokenFile = file
		if !filepath.IsAbs(file) {
			s.tokenFile = filepath.Join(l.BaseDir, file)
		}
	} else if v.Given("token") {
		if err := longEnough(s.http.Token); err != nil {
			return v.Errorf("token", "option token %v", err)
		}
	}
	if !l.UntilEnd {
		b.endless = "rows are posted to it"
	}
	if l.Scratch != nil {
		b.endless = "what is posted to it is in the pipeline's own directory"
	}
	b.format = messages.Format
	b.open = func(_ context.Context, p purpose) (microbatch.Source, error) { return l.openPosted(s, p) }
	b.check = func(context.Context, purpose) (string, error) {
		_, err := s.token()
		return "takes rows at POST " + httpsource.Path + l.Name + "/" + s.name, err
	}
	l.posted = append(l.posted, s)
	return l.positioned(b.Decl.With, b.Decl.Columns, httpsource.Validate(s.http))
}

func (s postedSource) dir(d pipelineDir) string {
	// The prefix keeps names such as ".." out of trouble.
	return filepath.Join(d.tablesDir(), "h_"+url.PathEscape(s.name))
}

// minTokenBytes keeps out what can be guessed.
const minTokenBytes = 16

func longEnough(token string) error {
	if len(token) < minTokenBytes {
		return fmt.Errorf("has %d characters, and %d are needed\nhint: make one with `openssl rand -hex 32`", len(token), minTokenBytes)
	}
	return nil
}

// token is what requests must send, "" for nothing.
func (s postedSource) token() (string, error) {
	if s.tokenFile == "" {
		return s.http.Token, nil
	}
	text, err := os.ReadFile(s.tokenFile)
	if err != nil {
		return "", s.decl.With.Errorf("token_file", "read the token: %v", err)
	}
	token := strings.TrimSpace(string(text))
	if err := longEnough(token); err != nil {
		return "", s.decl.With.Errorf("token_file", "the token in %s %v", s.tokenFile, err)
	}
	return token, nil
}

// openPosted opens what the rows that were posted are read from.
func (l *loaded) openPosted(s postedSource, p purpose) (microbatch.Source, error) {
	switch {
	case p.kind == toReadAgain:
		return intake.NewReader(vfs.OS{}, s.dir(p.dir), s.http.Rows)
	case p.kind == toAnswer:
		return nil, s.decl.With.Errorf("connector", "source %q has no rows here: they are posted to a pipeline that runs", s.name).
			WithHint("run it, and read its tables; or try the query with connector = 'file'")
	}
	if b := p.inboxes.inbox(l.Name, s.name); b != nil {
		return intake.NewSource(b, s.http.Rows)
	}
	o := s.inbox
	o.Dir, o.Logger, o.Owner = s.dir(p.dir), p.log, true
	b, err := intake.Open(o)
	if err != nil {
		return nil, err
	}
	source, err := intake.NewSource(b, s.http.Rows)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return ownInbox{source, b}, nil
}

// ownInbox is a source that nobody posts to now: a drill, or the version before of a file that changed.
type ownInbox struct {
	*intake.Source
	inbox *intake.Inbox
}

// Close implements microbatch.Source.
func (o ownInbox) Close() error { return errors.Join(o.Source.Close(), o.inbox.Close()) }

// checkReached refuses sources that nobody could post to.
func (l *loaded) checkReached() error {
	var problems []error
	for _, s := range l.posted {
		if s.http.Listen == "" && !l.UntilEnd {
			problems = append(problems, s.decl.With.Errorf("connector", "source %q takes rows by HTTP, and nothing listens", s.name).
				WithHint("add listen = '127.0.0.1:8080'; or submit the pipeline to a daemon, sluice serve, which listens for it"))
		}
	}
	return ddl.Join(problems...)
}
