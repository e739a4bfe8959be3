{{/* The chart's name, or what replaces it. */}}
{{- define "spotcompute.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* The Deployment's name: the release's name, plus the chart's name unless it contains it already. */}}
{{- define "spotcompute.fullname" -}}
{{- $name := include "spotcompute.name" . -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $whole | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{/* The start of names that a person types in a RoleBinding, such as spotcompute-read-sources. */}}
{{- define "spotcompute.prefix" -}}
{{- include "spotcompute.fullname" . | trimSuffix "-operator" -}}
{{- end }}

{{- define "spotcompute.selectorLabels" -}}
app.kubernetes.io/name: {{ include "spotcompute.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spotcompute.labels" -}}
{{ include "spotcompute.selectorLabels" . }}
app.kubernetes.io/part-of: spotcompute
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "spotcompute.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "spotcompute.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.create is false: name the one to use in serviceAccount.name" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "spotcompute.subjects" -}}
- kind: ServiceAccount
  name: {{ include "spotcompute.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "spotcompute.image" -}}
{{- with .Values.controller.image -}}
{{- if not .repository }}
{{- fail "no image: this chart names none, because no registry has one. Build the image, push it to where your cluster pulls from (docs/install.md, \"The image\"), and set controller.image.repository to it, such as --set controller.image.repository=registry.example.com/your-team/spotcompute-operator" }}
{{- end -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/* The namespaces that are watched, separated by commas, or nothing for all. Refuses combinations that cannot work. */}}
{{- define "spotcompute.watched" -}}
{{- $scope := .Values.rbac.scope }}
{{- $given := .Values.settings.namespaces }}
{{- if has $scope (list "SingleNamespace" "Namespaces") -}}
{{- $_ := required (printf "rbac.scope is %s: set settings.clusterId to a name that never changes and that no other cluster with these cloud accounts has. Without a ClusterRole the operator cannot read the uid of kube-system, which it uses otherwise." $scope) .Values.settings.clusterId -}}
{{- end -}}
{{- if eq $scope "SingleNamespace" -}}
{{- if $given }}{{ fail "rbac.scope is SingleNamespace, and settings.namespaces names several: set rbac.scope to Namespaces" }}{{ end -}}
{{- required "rbac.scope is SingleNamespace: name the namespace to watch in settings.namespace" .Values.settings.namespace -}}
{{- else if eq $scope "Namespaces" -}}
{{- if .Values.settings.namespace }}{{ fail "rbac.scope is Namespaces: name all of them in settings.namespaces, and none in settings.namespace" }}{{ end -}}
{{- join "," (required "rbac.scope is Namespaces: name the namespaces to watch in the list settings.namespaces" $given | uniq) -}}
{{- else if .Values.settings.namespace -}}
{{- fail "settings.namespace is set, but the rights are for all namespaces: set rbac.scope to SingleNamespace" -}}
{{- else if $given -}}
{{- fail "settings.namespaces is set, but the rights are for all namespaces: set rbac.scope to Namespaces" -}}
{{- end -}}
{{- end }}

{{/* The content of the ConfigMap. It leaves out the operator's own defaults. */}}
{{- define "spotcompute.settings" -}}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{- if kindIs "slice" $value }}
SPOTCOMPUTE_{{ snakecase $name | upper }}: {{ join "," $value | quote }}
{{- else }}
SPOTCOMPUTE_{{ snakecase $name | upper }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne .Values.logLevel "INFO" }}
SPOTCOMPUTE_LOG_LEVEL: {{ .Values.logLevel | quote }}
{{- end }}
{{- if ne (int .Values.controller.metrics.port) 9090 }}
SPOTCOMPUTE_METRICS_PORT: {{ .Values.controller.metrics.port | int | quote }}
{{- end }}
{{- if ne (int .Values.controller.healthProbe.port) 8080 }}
SPOTCOMPUTE_HEALTH_PORT: {{ .Values.controller.healthProbe.port | int | quote }}
{{- end }}
{{- end }}

{{/* The ConfigMap's name ends in a digest of its content, so that a changed setting restarts the operator. */}}
{{- define "spotcompute.settingsName" -}}
{{- printf "%s-settings-%s" (include "spotcompute.prefix" .) (include "spotcompute.settings" . | sha256sum | trunc 10) -}}
{{- end }}
