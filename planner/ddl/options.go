package ddl

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Form is how a value was written.
type Form uint8

const (
	StringValue Form = iota
	NumberValue
	BoolValue
	ListValue
)

// Option is key = value.
type Option struct {
	// Key is in lower case.
	Key  Ident
	Form Form
	// Value is the text of the value without quotes, ${NAME} replaced.
	Value string
	// List holds the items of a value in brackets; it is nil for other forms.
	List []string
	// Secret values must not be printed: they came from the environment, or the key says so.
	Secret    bool
	ValueSpan Span
	Span
}

// Redacted stands for secrets wherever options are printed.
const Redacted = "***"

// Display is the value as it may be printed: secrets, and passwords in URLs, are replaced.
func (o Option) Display() string {
	if o.Secret {
		return Redacted
	}
	return RedactURL(o.Value)
}

// dsnPassword is the password in a libpq connection string: host=… password='…'.
var dsnPassword = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)`)

// RedactURL replaces the passwords in s if it is a URL or a libpq connection string.
func RedactURL(s string) string {
	if !strings.Contains(s, "://") {
		return dsnPassword.ReplaceAllString(s, "${1}"+Redacted)
	}
	u, err := url.Parse(s)
	if err != nil {
		// Why: a URL that does not parse may still have a password in it.
		return s[:strings.Index(s, "://")] + "://" + Redacted
	}
	for _, key := range []string{"password", "sslpassword"} {
		if q := u.Query(); q.Has(key) {
			q.Set(key, "xxxxx")
			u.RawQuery = q.Encode()
		}
	}
	return u.Redacted()
}

// secretName says whether an option's name announces a secret.
func secretName(key string) bool {
	for _, s := range []string{"password", "passwd", "passphrase", "secret", "token", "credential", "access_key", "api_key", "private_key", "jaas"} {
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(key, ".", "_"), "-", "_"), s) {
			return true
		}
	}
	return false
}

// Options is an option list, in the order of the file.
type Options struct {
	Items []Option
	// Span covers WITH ( … ); it is empty for options that come from elsewhere.
	Span

	file *File
}

// Get returns the value of an option; the last one if it is given twice, which Check refuses.
func (o Options) Get(name string) (string, bool) {
	for _, item := range slices.Backward(o.Items) {
		if item.Key.Name == name {
			return item.Value, true
		}
	}
	return "", false
}

// Lookup returns the whole option.
func (o Options) Lookup(name string) (Option, bool) {
	for _, item := range slices.Backward(o.Items) {
		if item.Key.Name == name {
			return item, true
		}
	}
	return Option{}, false
}

// Override returns a copy in which an option has this value: a flag of the command line goes before the
// file. Its errors have no position.
func (o Options) Override(name, value string) Options {
	name = strings.ToLower(name)
	kept := slices.DeleteFunc(slices.Clone(o.Items), func(item Option) bool { return item.Key.Name == name })
	o.Items = append(kept, Option{Key: Ident{Name: name}, Value: value, Secret: secretName(name)})
	return o
}

// Errorf returns an error at an option's value, or at the word WITH if the option is not given.
func (o Options) Errorf(name, format string, args ...any) *Error {
	span := o.head()
	if item, ok := o.Lookup(name); ok {
		span = item.ValueSpan
	}
	return o.errorf(span, format, args...)
}

// head is the word WITH: what to underline when something is missing from the list.
func (o Options) head() Span { return Span{o.Start, min(o.Start+len("WITH"), o.End)} }

func (o Options) errorf(span Span, format string, args ...any) *Error {
	switch {
	case o.file == nil:
		return &Error{Message: fmt.Sprintf(format, args...)}
	case span == (Span{}):
		return &Error{File: o.file.Name, Message: fmt.Sprintf(format, args...)}
	}
	return o.file.Errorf(span, format, args...)
}
