//go:build minimal

// Built only for the workbook's trimmed Vault: the upstream "minimal" build
// plus what the lab stores its data in and registers itself with.

package command

import (
	_ "github.com/hashicorp/vault/helper/builtinplugins"
	physConsul "github.com/hashicorp/vault/physical/consul"
	physFile "github.com/hashicorp/vault/sdk/physical/file"
)

// extendAddonHandlers adds the storage backends that the lab's configurations
// name: "consul" for the cluster, "file" for the Vault that unseals others.
func extendAddonHandlers(handlers *vaultHandlers) {
	handlers.physicalBackends["consul"] = physConsul.NewConsulBackend
	handlers.physicalBackends["file"] = physFile.NewFileBackend
}
