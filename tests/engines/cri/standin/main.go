// What critest wants of images that cannot be pulled here: web servers by their names, and a set-uid program.
//
//	standin nnp                   print the effective user
//	standin pause                 wait for ever, without zombies
//	standin nginx|httpd PORT      answer every request
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	switch name, rest := os.Args[1], os.Args[2:]; {
	case name == "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case name == "pause":
		signal.Ignore(syscall.SIGCHLD)
		for {
			syscall.Pause()
		}
	case os.Args[0] != name+": master process":
		// The title that the specs look for, under the program's own name.
		words := append([]string{name + ": master process", name}, rest...)
		panic(syscall.Exec("/usr/sbin/"+name, words, os.Environ()))
	default:
		if err := os.WriteFile("/var/run/"+name+".pid", fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
			panic(err)
		}
		fmt.Println(name, "is listening")
		panic(http.ListenAndServe(":"+rest[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, name)
		})))
	}
}
