package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Explain says which cluster an error is about, and what to do about those that a user can do something about.
func (o Options) Explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	at := strings.Join(o.Brokers, ", ")
	if hint := o.hint(err); hint != "" && !strings.Contains(err.Error(), "\nHint: ") {
		//lint:ignore ST1005 it is a name
		return fmt.Errorf("Kafka at %s: %w\nHint: %s", at, err, hint)
	}
	//lint:ignore ST1005 it is a name
	return fmt.Errorf("Kafka at %s: %w", at, err)
}

func (o Options) hint(err error) string {
	var dns *net.DNSError
	var dial *net.OpError
	var record tls.RecordHeaderError
	var stranger x509.UnknownAuthorityError
	var named x509.HostnameError
	var alert tls.AlertError
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.IllegalSaslState), errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "check sasl_user, its password, and sasl_mechanism"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Sprintf("user %q may not do this with the topic: give it the ACL operations that docs/kafka.md lists", o.User)
	case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Sprintf("user %q lacks an ACL: docs/kafka.md lists those that are needed", o.User)
	case errors.As(err, &record):
		return "the port does not speak TLS: leave tls out, or name the port that does"
	case errors.As(err, &stranger):
		return "the brokers' certificate is not trusted: name the one that signed it in tls_ca_file"
	case errors.As(err, &named):
		return "the brokers' certificate is for another name: set tls_server_name to one that it is for"
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls: "):
		return "the brokers refuse the client's certificate, or the lack of one: set tls_cert_file and tls_key_file to one that they trust"
	case errors.As(err, &dns):
		return "check the name in brokers"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "check brokers, and that the cluster's advertised listeners can be reached from here"
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "broker closed the connection"), strings.Contains(err.Error(), "EOF"):
		return "check that brokers names the right port, whether the listener wants tls = true, and the SASL user and password"
	}
	return ""
}
