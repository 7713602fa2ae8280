package schemaregistry_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-sql/sluice/internal/registrytest"
	"github.com/sluice-sql/sluice/internal/schemaregistry"
)

func client(t *testing.T, o schemaregistry.Options) *schemaregistry.Client {
	t.Helper()
	c, err := schemaregistry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An id is asked for once, with all that it refers to, the innermost first.
func TestReferences(t *testing.T) {
	reg := registrytest.New(t)
	reg.Register("c", "PROTOBUF", `syntax = "proto3"; message C {}`)
	reg.Register("b", "PROTOBUF", `syntax = "proto3"; import "c.proto"; message B { C c = 1; }`, sr.SchemaReference{Name: "c.proto", Subject: "c", Version: 1})
	id := reg.Register("a", "PROTOBUF", `syntax = "proto3"; import "b.proto"; import "c.proto"; message A { B b = 1; C c = 2; }`,
		sr.SchemaReference{Name: "b.proto", Subject: "b", Version: 1}, sr.SchemaReference{Name: "c.proto", Subject: "c", Version: 1})
	c := client(t, schemaregistry.Options{URL: reg.URL() + "/"})
	for range 2 {
		s, err := c.ByID(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want := []schemaregistry.Reference{{Name: "c.proto", Text: `syntax = "proto3"; message C {}`},
			{Name: "b.proto", Text: `syntax = "proto3"; import "c.proto"; message B { C c = 1; }`}}
		if diff := cmp.Diff(want, s.References); s.Type != schemaregistry.Protobuf || diff != "" {
			t.Errorf("type %s, references (-want +got):\n%s", s.Type, diff)
		}
	}
	if diff := cmp.Diff([]string{"GET /schemas/ids/3", "GET /subjects/b/versions/1", "GET /subjects/c/versions/1"}, reg.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// Only the registry's own answer makes an id unknown; it is believed for a while.
func TestErrors(t *testing.T) {
	reg := registrytest.New(t)
	id := reg.Register("a", "AVRO", `"string"`)
	c := client(t, schemaregistry.Options{URL: reg.URL(), UnknownFor: time.Hour})
	for range 2 {
		if _, err := c.ByID(t.Context(), id+1); !errors.Is(err, schemaregistry.ErrUnknown) {
			t.Errorf("an id that nobody registered: %v", err)
		}
	}
	if n := len(reg.Requests()); n != 1 {
		t.Errorf("%d requests for an unknown id", n)
	}
	for fault, want := range map[registrytest.Fault]string{registrytest.Fail: "start the registry", registrytest.Cut: "start the registry",
		registrytest.NotFound: "is no schema registry"} {
		reg.Break(fault)
		_, err := c.ByID(t.Context(), id)
		if err == nil || errors.Is(err, schemaregistry.ErrUnknown) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "get schema 1") {
			t.Errorf("fault %d: %v", fault, err)
		}
	}
	reg.Break(registrytest.Stall)
	if _, err := client(t, schemaregistry.Options{URL: reg.URL(), Timeout: time.Millisecond}).ByID(t.Context(), id); err == nil || errors.Is(err, schemaregistry.ErrUnknown) {
		t.Errorf("a registry that stalls: %v", err)
	}
	reg.Break(registrytest.None)
	if s, err := c.ByID(t.Context(), id); err != nil || s.Text != `"string"` || s.Type != schemaregistry.Avro {
		t.Errorf("after it came back: %v, %v", s, err)
	}
}

func TestCredentials(t *testing.T) {
	reg := registrytest.New(t)
	id := reg.Register("a", "AVRO", `"string"`)
	reg.Require("ann", "s3cret")
	host := strings.TrimPrefix(reg.URL(), "http://")
	for _, o := range []schemaregistry.Options{{URL: reg.URL(), User: "ann", Password: "s3cret"}, {URL: "http://ann:s3cret@" + host}} {
		if _, err := client(t, o).ByID(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	_, err := client(t, schemaregistry.Options{URL: "http://ann:wr0ng@" + host}).ByID(t.Context(), id)
	if err == nil || errors.Is(err, schemaregistry.ErrUnknown) || !strings.Contains(err.Error(), "schema_registry_password") || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("a wrong password: %v", err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, schemaregistry.Options{URL: reg.URL(), User: "ann", PasswordFile: file}).ByID(t.Context(), id); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]schemaregistry.Options{
		"schema_registry = ":               {URL: "ann:s3cret@" + host},
		"schema_registry_password_file = ": {URL: reg.URL(), User: "ann", Password: "s3cret", PasswordFile: file},
		"schema_registry_user = ":          {URL: reg.URL(), Password: "s3cret"},
		"cannot be read":                   {URL: reg.URL(), User: "ann", PasswordFile: file + "x"},
	} {
		if _, err := schemaregistry.New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRegister(t *testing.T) {
	reg := registrytest.New(t)
	c := client(t, schemaregistry.Options{URL: reg.URL()})
	for range 2 {
		if id, err := c.Register(t.Context(), "a-value", schemaregistry.Avro, `"string"`); id != 1 || err != nil {
			t.Error(id, err)
		}
	}
	if s, ok := reg.Latest("a-value"); !ok || s.Version != 1 || s.Schema.Schema != `"string"` {
		t.Errorf("%v %v", s, ok)
	}
}
