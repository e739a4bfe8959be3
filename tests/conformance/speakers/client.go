// Speaks for the vendor's SDK for Go: reads lines "KEY ACTION JSON" and writes one line with the answer each.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
	cvm "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/cvm/v20170312"
)

func answer(endpoint, secretID, line string) map[string]any {
	parts := strings.SplitN(line, "\t", 3)
	options := profile.NewClientProfile()
	options.HttpProfile.Scheme = "HTTP"
	options.HttpProfile.Endpoint = endpoint
	client, err := cvm.NewClient(common.NewCredential(secretID, parts[0]), "ap-guangzhou", options)
	if err != nil {
		return map[string]any{"Error": err.Error()}
	}
	// New…Request fills in the common fields; the SDK's typed method then sends it.
	request := constructors[parts[1]]()
	if err := json.Unmarshal([]byte(parts[2]), request); err != nil {
		return map[string]any{"Error": err.Error()}
	}
	method := reflect.ValueOf(client).MethodByName(parts[1])
	answered := method.Call([]reflect.Value{reflect.ValueOf(request)})
	if problem := answered[1].Interface(); problem != nil {
		if refusal, ok := problem.(*errors.TencentCloudSDKError); ok {
			return map[string]any{"Error": refusal.Code}
		}
		return map[string]any{"Error": fmt.Sprint(problem)}
	}
	return map[string]any{"Answer": answered[0].Elem().FieldByName("Response").Interface()}
}

var constructors = map[string]func() any{
	"RunInstances":                    func() any { return cvm.NewRunInstancesRequest() },
	"DescribeInstances":               func() any { return cvm.NewDescribeInstancesRequest() },
	"DescribeInstancesStatus":         func() any { return cvm.NewDescribeInstancesStatusRequest() },
	"DescribeZoneInstanceConfigInfos": func() any { return cvm.NewDescribeZoneInstanceConfigInfosRequest() },
	"TerminateInstances":              func() any { return cvm.NewTerminateInstancesRequest() },
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		text, _ := json.Marshal(answer(os.Args[1], os.Args[2], lines.Text()))
		fmt.Println(string(text))
	}
}
