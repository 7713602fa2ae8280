// Package kafkaclient turns the options that every Kafka connector shares (brokers, TLS, SASL) into a client, and
// Kafka's errors into ones that say what to do.
package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Mechanisms are the SASL mechanisms that Options knows.
var Mechanisms = []string{"plain", "scram-sha-256", "scram-sha-512"}

// Options say how to reach a cluster.
type Options struct {
	// Brokers are host:port, or a host whose port is 9092; one that answers is enough. Required.
	Brokers []string
	// ClientID is shown in the brokers' logs and quotas. Defaults to "sluice".
	ClientID string

	// TLS encrypts connections. Defaults to false; the files below turn it on.
	TLS bool
	// CAFile has the certificates that the brokers' are checked with. Defaults to the system's.
	CAFile string
	// CertFile and KeyFile are the client's own certificate. Default to none.
	CertFile, KeyFile string
	// ServerName is the name that the brokers' certificates must have. Defaults to the name that is dialled.
	ServerName string

	// Mechanism is one of Mechanisms. Defaults to "plain" if there is a user.
	Mechanism string
	// User authenticates with SASL. Defaults to no authentication.
	User string
	// Password is the user's; PasswordFile is read for it, without its line end.
	Password, PasswordFile string

	// Dial connects. Defaults to TCP, with TLS as above.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
}

// Validate returns all that is wrong, joined. Each message begins with the option that it is about and " = ".
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.Brokers) == 0 {
		bad("brokers = '' names no broker\nHint: write brokers = 'host:9092', or a list of them")
	}
	for _, b := range o.Brokers {
		if strings.TrimSpace(b) == "" || strings.Contains(b, "://") {
			bad("brokers = '%s' is not host:port\nHint: write brokers = 'host:9092', or a list of them", b)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		bad("tls_cert_file = '%s' needs tls_key_file beside it, and the other way round", o.CertFile)
	}
	if o.Mechanism != "" && !slices.Contains(Mechanisms, o.Mechanism) {
		bad("sasl_mechanism = '%s' is not known\nHint: use '%s'", o.Mechanism, strings.Join(Mechanisms, "', '"))
	}
	switch {
	case o.User == "" && (o.Mechanism != "" || o.Password != "" || o.PasswordFile != ""):
		bad("sasl_user = '' names nobody\nHint: SASL needs sasl_user and sasl_password_file")
	case o.User != "" && o.Password == "" && o.PasswordFile == "":
		bad("sasl_user = '%s' has no password\nHint: add sasl_password_file = '…', or sasl_password = '${NAME}' to take it from the environment", o.User)
	case o.Password != "" && o.PasswordFile != "":
		bad("sasl_password_file = '%s' is given beside sasl_password\nHint: remove one of them", o.PasswordFile)
	}
	return errors.Join(errs...)
}

// Opts are the client's. They read the files that Options name.
func (o Options) Opts() ([]kgo.Opt, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	id := o.ClientID
	if id == "" {
		id = "sluice"
	}
	opts := []kgo.Opt{kgo.SeedBrokers(o.Brokers...), kgo.ClientID(id)}
	config, err := o.tlsConfig()
	switch {
	case err != nil:
		return nil, err
	case o.Dial != nil:
		opts = append(opts, kgo.Dialer(o.Dial))
	case config != nil:
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	m, err := o.mechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

func (o Options) tlsConfig() (*tls.Config, error) {
	if !o.TLS && o.CAFile == "" && o.CertFile == "" && o.ServerName == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read tls_ca_file: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca_file %s has no certificate in PEM", o.CAFile)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read tls_cert_file and tls_key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (o Options) mechanism() (sasl.Mechanism, error) {
	if o.User == "" {
		return nil, nil
	}
	password := o.Password
	if o.PasswordFile != "" {
		text, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read sasl_password_file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	auth := scram.Auth{User: o.User, Pass: password}
	switch o.Mechanism {
	case "scram-sha-256":
		return auth.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return auth.AsSha512Mechanism(), nil
	}
	return plain.Auth{User: o.User, Pass: password}.AsMechanism(), nil
}

// ConnectTimeout bounds Connect's first exchange with a broker.
const ConnectTimeout = 15 * time.Second

// Connect makes a client and has one broker answer, so that a wrong address or password is told at once. The
// caller closes the client.
func (o Options) Connect(ctx context.Context, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := o.Opts()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, err
	}
	ping, cancel := context.WithTimeoutCause(ctx, ConnectTimeout, fmt.Errorf("no broker answered within %s", ConnectTimeout))
	defer cancel()
	if err := cl.Ping(ping); err != nil {
		cl.Close()
		if ctx.Err() == nil && ping.Err() != nil {
			err = errors.Join(context.Cause(ping), err)
		}
		return nil, o.Explain(err)
	}
	return cl, nil
}
