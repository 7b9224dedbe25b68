// The one program of the test cluster's images: pause, servers, probes, a name server. It ignores all load and speed.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
)

var verbs = map[string]func(arguments []string) error{
	"pause":  pause,
	"serve":  serve,
	"stay":   stay,
	"probe":  probe,
	"talk":   talk,
	"lookup": lookup,
	"dns":    serveNames,
	"true":   func([]string) error { return nil },
	"false":  func([]string) error { return fmt.Errorf("false") },
	"cat":    cat,
}

func main() {
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		known := make([]string, 0, len(verbs))
		for verb := range verbs {
			known = append(known, verb)
		}
		sort.Strings(known)
		fmt.Fprintln(os.Stderr, "probe: the first word is one of", strings.Join(known, ", "))
		os.Exit(2)
	}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// pause waits to be told to end, and reaps what is left to it: it is pid 1 where a pod shares its processes.
func pause([]string) error {
	told := make(chan os.Signal, 8)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for number := range told {
		if number != syscall.SIGCHLD {
			return nil
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

// cat prints files, for what the runtime puts into a pod (resolv.conf, hosts, tokens).
func cat(paths []string) error {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		os.Stdout.Write(text)
	}
	return nil
}
