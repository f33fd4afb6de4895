// cri calls one method of the Container Runtime Interface: cri SOCKET METHOD <REQUEST.json.
//
// Requests and replies are the protobuf messages of the method in their JSON form.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func message(name protoreflect.FullName) (protoreflect.ProtoMessage, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

func call(socket, name string, body []byte) ([]byte, error) {
	for _, service := range []string{"runtime.v1.RuntimeService", "runtime.v1.ImageService"} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			return nil, err
		}
		method := found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
		if method == nil {
			continue
		}
		request, err := message(method.Input().FullName())
		if err != nil {
			return nil, err
		}
		reply, err := message(method.Output().FullName())
		if err != nil {
			return nil, err
		}
		if err := protojson.Unmarshal(body, request); err != nil {
			return nil, err
		}
		connection, err := grpc.NewClient("unix://"+socket,
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := connection.Invoke(ctx, "/"+service+"/"+name, request, reply); err != nil {
			return nil, err
		}
		return protojson.Marshal(reply)
	}
	return nil, fmt.Errorf("no method %s", name)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET METHOD <REQUEST.json")
		os.Exit(2)
	}
	body, err := io.ReadAll(os.Stdin)
	if err == nil {
		body, err = call(os.Args[1], os.Args[2], body)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
	os.Stdout.Write(append(body, '\n'))
}
