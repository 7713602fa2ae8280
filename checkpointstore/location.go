package checkpointstore

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Location is a bucket and a prefix in it, written s3://BUCKET/PREFIX?endpoint=…&region=…&path_style=….
type Location struct {
	Bucket string
	// Prefix has no slash at either end; it may be empty.
	Prefix string
	// Endpoint is host or host:port. Defaults to Amazon's.
	Endpoint string
	// Insecure says http instead of https.
	Insecure bool
	// Region is empty where the server is to be asked.
	Region string
	// PathStyle puts the bucket into the path instead of the host's name. Defaults to true for endpoints that
	// are not Amazon's.
	PathStyle bool
}

const amazon = "s3.amazonaws.com"

// ParseLocation reads a URL. It refuses whatever might be a secret, without repeating it.
func ParseLocation(text string) (Location, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.Opaque != "" || u.Fragment != "" {
		return Location{}, fmt.Errorf("checkpoint storage must be a URL such as s3://bucket/prefix?endpoint=https://minio.example:9000")
	}
	if u.User != nil {
		return Location{}, fmt.Errorf("the URL of checkpoint storage has a user name or password in it\nHint: credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from ~/.aws/credentials, never from the URL")
	}
	l := Location{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: amazon}
	if slices.ContainsFunc(strings.Split(l.Prefix, "/"), func(part string) bool { return l.Prefix != "" && (part == "" || part == "." || part == "..") }) {
		return Location{}, fmt.Errorf("the prefix %q of checkpoint storage has an empty part, or one of dots", l.Prefix)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, fmt.Errorf("the URL of checkpoint storage has parameters that cannot be read")
	}
	for name, values := range q {
		switch {
		case name != "endpoint" && name != "region" && name != "path_style":
			return Location{}, fmt.Errorf("parameter %q of checkpoint storage is not known\nHint: there are endpoint, region and path_style; credentials come from the environment", name)
		case len(values) != 1 || values[0] == "":
			return Location{}, fmt.Errorf("parameter %q of checkpoint storage must have one value", name)
		}
	}
	if err := l.endpoint(q.Get("endpoint")); err != nil {
		return Location{}, err
	}
	l.Region = q.Get("region")
	l.PathStyle = l.Endpoint != amazon
	if text := q.Get("path_style"); text != "" {
		if l.PathStyle, err = strconv.ParseBool(text); err != nil {
			return Location{}, fmt.Errorf("parameter path_style of checkpoint storage is %q, not true or false", text)
		}
	}
	return l, nil
}

func (l *Location) endpoint(text string) error {
	if text == "" {
		return nil
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("parameter endpoint of checkpoint storage must be like https://host:port")
	}
	l.Endpoint, l.Insecure = u.Host, u.Scheme == "http"
	return nil
}

// String is the URL without parameters, for messages.
func (l Location) String() string { return "s3://" + l.join(l.Bucket, l.Prefix) }

func (l Location) join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "/")
}

// root is the prefix of a pipeline's objects, with a slash at its end.
func (l Location) root(pipeline string) string { return l.join(l.Prefix, pipeline) + "/" }

// Parent takes the last part of the prefix off: the location of a pipeline's copies, and the pipeline's name.
func (l Location) Parent() (Location, string) {
	i := strings.LastIndex(l.Prefix, "/")
	name := l.Prefix[i+1:]
	l.Prefix = l.Prefix[:max(i, 0)]
	return l, name
}
