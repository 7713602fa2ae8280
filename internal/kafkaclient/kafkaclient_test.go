package kafkaclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string // in the error; "" for none
	}{
		{Options{Brokers: []string{"a:9092"}}, ""},
		{Options{Brokers: []string{"a", "b"}, User: "u", Password: "p", Mechanism: "scram-sha-512"}, ""},
		{Options{}, "names no broker"},
		{Options{Brokers: []string{"kafka://a:9092"}}, "is not host:port"},
		{Options{Brokers: []string{"a"}, User: "u"}, "has no password"},
		{Options{Brokers: []string{"a"}, Password: "p"}, "sasl_user"},
		{Options{Brokers: []string{"a"}, User: "u", Password: "p", PasswordFile: "f"}, "remove one"},
		{Options{Brokers: []string{"a"}, User: "u", Password: "p", Mechanism: "gssapi"}, "scram-sha-256"},
		{Options{Brokers: []string{"a"}, CertFile: "c"}, "tls_key_file"},
	} {
		err := tt.o.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}

// A wrong address or password is told by Connect, with what to check.
func TestConnect(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "admin", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	right := Options{Brokers: c.ListenAddrs(), Mechanism: "scram-sha-256", User: "admin", PasswordFile: password}
	cl, err := right.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
	wrong := right
	wrong.PasswordFile, wrong.Password = "", "guess"
	gone := right
	gone.Brokers = []string{nobody.Addr().String()}
	for _, tt := range []struct {
		o    Options
		want string
	}{{wrong, "SASL"}, {gone, "check brokers"}} {
		cl, err := tt.o.Connect(t.Context())
		if err == nil {
			cl.Close()
			t.Errorf("%+v connects", tt.o)
		} else if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "guess") {
			t.Errorf("%v\nwants %q", err, tt.want)
		}
	}
}

// Brokers that ask for a client's certificate, and what is said of those that are wrong or missing.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := func(name string) (cert, key string) {
		certPEM, keyPEM, err := kafkatest.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		if err := errors.Join(os.WriteFile(cert, certPEM, 0o600), os.WriteFile(key, keyPEM, 0o600)); err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	brokerCert, brokerKey := files("broker")
	clientCert, clientKey := files("client")
	strangerCert, strangerKey := files("stranger")
	pair, err := tls.LoadX509KeyPair(brokerCert, brokerKey)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	right := Options{Brokers: c.ListenAddrs(), CAFile: brokerCert, CertFile: clientCert, KeyFile: clientKey}
	for want, change := range map[string]func(*Options){
		"": func(*Options) {},
		"Hint: the brokers' certificate is not trusted: name the one that signed it in tls_ca_file":     func(o *Options) { o.CAFile = strangerCert },
		"Hint: the brokers' certificate is for another name: set tls_server_name to one that it is for": func(o *Options) { o.ServerName = "kafka.example" },
		"Hint: the brokers refuse the client's certificate, or the lack of one: set tls_cert_file and tls_key_file to one that they trust": func(o *Options) {
			o.CertFile, o.KeyFile = "", ""
		},
		"Hint: the brokers refuse the client's certificate": func(o *Options) { o.CertFile, o.KeyFile = strangerCert, strangerKey },
		"read tls_ca_file: ":        func(o *Options) { o.CAFile = filepath.Join(dir, "nothing") },
		"has no certificate in PEM": func(o *Options) { o.CAFile = clientKey },
	} {
		o := right
		change(&o)
		cl, err := o.Connect(t.Context())
		if err == nil {
			cl.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwants %q", err, want)
		}
	}
}
