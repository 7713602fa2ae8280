package main

import (
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// kafkaClientOptions are what every Kafka connector is told of the cluster.
var kafkaClientOptions = []ddl.OptionSpec{
	{Name: "brokers", Kind: ddl.List, Required: true, Doc: "host:port, or several; one that answers is enough"},
	{Name: "tls", Kind: ddl.Bool, Default: "false", Doc: "encrypt connections; any of the tls_ options turns it on"},
	{Name: "tls_ca_file", Kind: ddl.String, Doc: "certificates that the brokers' are checked with; defaults to the system's"},
	{Name: "tls_cert_file", Kind: ddl.String, Doc: "the client's own certificate, PEM"},
	{Name: "tls_key_file", Kind: ddl.String, Doc: "its key, PEM"},
	{Name: "tls_server_name", Kind: ddl.String, Doc: "the name in the brokers' certificates; defaults to the one that is dialled"},
	{Name: "sasl_mechanism", Kind: ddl.Enum, Enum: kafkaclient.Mechanisms, Doc: "defaults to plain if there is a user"},
	{Name: "sasl_user", Kind: ddl.String, Doc: "who connects; defaults to no authentication"},
	{Name: "sasl_password", Kind: ddl.String, Doc: "as '${NAME}' it is taken from the environment"},
	{Name: "sasl_password_file", Kind: ddl.String, Doc: "a file with the password; relative to the SQL file"},
}

// kafkaClient reads those options. Files are relative to base.
func kafkaClient(v ddl.Values, base string) kafkaclient.Options {
	file := func(name string) string {
		path := v.String(name)
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(base, path)
	}
	return kafkaclient.Options{Brokers: v.List("brokers"), TLS: v.Bool("tls"), CAFile: file("tls_ca_file"), CertFile: file("tls_cert_file"),
		KeyFile: file("tls_key_file"), ServerName: v.String("tls_server_name"), Mechanism: v.String("sasl_mechanism"),
		User: v.String("sasl_user"), Password: v.String("sasl_password"), PasswordFile: file("sasl_password_file")}
}
