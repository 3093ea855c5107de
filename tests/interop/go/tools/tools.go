//go:build tools

// Package tools pins h2spec and grpcurl, which `tools/setup gotools` builds into build/tools.
package tools

import (
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
