//go:build tools

// Package tools pins ghz, which needs an older grpc-go than grpcurl does.
package tools

import _ "github.com/bojand/ghz/cmd/ghz"
