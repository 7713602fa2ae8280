package kafkaclient

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
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
