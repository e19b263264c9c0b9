{{- define "name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "name" .) .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "name" .) | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Where everything is that is in a namespace */ -}}
{{- define "namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "selectorLabels" -}}
app.kubernetes.io/name: {{ include "name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "labels" -}}
{{ include "selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* (list $ NAME [MORE]): an object's metadata. MORE is a dict of namespace, labels and annotations, each optional */ -}}
{{- define "metadata" -}}
{{- $ := index . 0 -}}
{{- $more := len . | eq 3 | ternary (last .) dict -}}
name: {{ index . 1 }}
{{- with $more.namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "labels" $ | nindent 2 }}
  {{- with $more.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict $more.annotations) $.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* (list $ ROLE): the role in all namespaces, or in those that are served */ -}}
{{- define "binding" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}
{{- range $namespace := default (list "") $.Values.watchNamespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $namespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  {{- include "metadata" (list $ $role (dict "namespace" $namespace)) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
- kind: ServiceAccount
  name: {{ include "serviceAccountName" $ }}
  namespace: {{ include "namespace" $ }}
{{- end }}
{{- end }}

{{- /* (list $ MONITOR): what the endpoint of a ServiceMonitor and of a PodMonitor have in common */ -}}
{{- define "endpoint" -}}
{{- $monitor := index . 1 -}}
port: http
interval: {{ $monitor.interval }}
{{- range $key := list "scrapeTimeout" "scheme" "relabelings" "metricRelabelings" "tlsConfig" }}
{{- with index $monitor $key }}
{{ $key }}: {{- if kindIs "string" . }} {{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
honorLabels: {{ $monitor.honorLabels }}
{{- end }}
