package checkpointstore

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// ErrNoCredentials marks (errors.Is) that no credentials were found.
var ErrNoCredentials = errors.New("no credentials")

// chain looks where the tools of Amazon and MinIO look: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
// MINIO_ROOT_USER and MINIO_ROOT_PASSWORD (or MINIO_ACCESS_KEY and MINIO_SECRET_KEY), ~/.aws/credentials with
// AWS_PROFILE and AWS_SHARED_CREDENTIALS_FILE, ~/.mc/config.json, and, for Amazon and where the environment
// names a web identity or a container's, the role of the machine.
func chain(l Location) *credentials.Credentials {
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.FileMinioClient{}}
	if hasRole(l) {
		// Why the short time: off Amazon's machines the address is one that never answers.
		providers = append(providers, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}})
	}
	return credentials.NewChainCredentials(providers)
}

func hasRole(l Location) bool {
	if strings.HasSuffix(l.Endpoint, ".amazonaws.com") {
		return os.Getenv("AWS_EC2_METADATA_DISABLED") != "true"
	}
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

func (b *bucket) checkCredentials() error {
	v, err := b.creds.GetWithContext(&credentials.CredContext{Client: &http.Client{Timeout: 5 * time.Second}})
	if err == nil && v.SignerType != credentials.SignatureAnonymous && v.AccessKeyID != "" {
		return nil
	}
	return fmt.Errorf("%w for %s\nHint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials with AWS_PROFILE", ErrNoCredentials, b.at)
}

// hint ends the message of a refusal with what to do about it.
func hint(err error) string {
	switch response(err).Code {
	case "NoSuchBucket":
		return "\nHint: create the bucket, or correct its name or the endpoint"
	case "AccessDenied":
		return "\nHint: the credentials must allow listing the bucket and getting, putting and deleting objects below the prefix"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidTokenId":
		return "\nHint: the server does not accept the credentials; look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_PROFILE"
	case "AuthorizationHeaderMalformed", "PermanentRedirect":
		return "\nHint: name the bucket's region with the parameter region"
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "RequestLimitExceeded":
		return "\nHint: the server asks for fewer requests; a longer checkpoint_interval sends fewer"
	}
	return ""
}

// refused says that trying again cannot help until somebody changes something.
func refused(err error) bool {
	switch response(err).Code {
	case "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidTokenId", "AuthorizationHeaderMalformed", "PermanentRedirect", "InvalidBucketName":
		return true
	}
	return errors.Is(err, ErrNoCredentials)
}

// cannot says that the server has understood a request and will not do it, whenever it is asked.
func cannot(err error) bool {
	status := response(err).StatusCode
	return !refused(err) && (status == http.StatusNotImplemented || status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout)
}

// response is the server's part of an error, zero if it has none.
func response(err error) minio.ErrorResponse {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r
}

// missing says that an object that was named is not there (any more).
func missing(err error) bool { return response(err).Code == "NoSuchKey" }

// Refused says that a server answered, and will go on to refuse until somebody changes something; or that there
// are no credentials.
func Refused(err error) bool { return refused(err) }

// Answered says that an error is what a server answered.
func Answered(err error) bool { return response(err).StatusCode != 0 }
