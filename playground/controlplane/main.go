// Command controlplane is a whole Kubernetes control plane in one binary: the first argument names the
// component to run, the rest are that component's own flags. One binary shares one copy of the libraries
// that the four components have in common, which keeps the build and the cache small.
//
// `controlplane keys DIRECTORY` writes the certificates and keys that the components need (keys.go), so
// that a machine without openssl can start a cluster.
//
// It knows nothing of Atelier and nothing of the node: playground/atelier_playground starts it.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		refuse("no component named")
	}
	component := os.Args[1]
	// Every component parses os.Args itself; shifting by one makes it see only its own flags.
	os.Args = os.Args[1:]
	var command *cobra.Command
	switch component {
	case "keys":
		writeKeysOrExit(os.Args[1:])
		return
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	default:
		refuse(fmt.Sprintf("unknown component %q", component))
	}
	os.Exit(cli.Run(command))
}

func writeKeysOrExit(arguments []string) {
	if len(arguments) != 1 {
		refuse("keys takes exactly one directory")
	}
	if err := writeKeys(arguments[0]); err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: keys: %v\n", err)
		os.Exit(1)
	}
}

func refuse(reason string) {
	fmt.Fprintf(os.Stderr, "controlplane: %s: give one of keys, etcd, kube-apiserver, kube-controller-manager, kube-scheduler\n", reason)
	os.Exit(2)
}
