//go:build minimal

// Built only for the workbook's trimmed Vault: the upstream "minimal" build
// plus the engines that the notebooks mount.

package builtinplugins

import (
	logicalConsul "github.com/hashicorp/vault/builtin/logical/consul"
	dbMysql "github.com/hashicorp/vault/plugins/database/mysql"
)

// extendAddonPlugins adds the MySQL database plugin (dynamic credentials) and
// the Consul secrets engine (dynamic ACL tokens).
func extendAddonPlugins(reg *registry) {
	reg.databasePlugins["mysql-database-plugin"] = databasePlugin{
		Factory: dbMysql.New(dbMysql.DefaultUserNameTemplate),
	}
	reg.logicalBackends["consul"] = logicalBackend{Factory: logicalConsul.Factory}
}
