// What runs in the pods of the test cluster. The standard library only.
module vallum.dev/kube/probe

go 1.24
