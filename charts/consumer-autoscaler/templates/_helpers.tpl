{{- define "consumer-autoscaler.name" -}}{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "consumer-autoscaler.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "consumer-autoscaler.name" .) .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "consumer-autoscaler.name" .) | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Where everything is that is in a namespace */ -}}
{{- define "consumer-autoscaler.namespace" -}}{{ default .Release.Namespace .Values.namespaceOverride | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "consumer-autoscaler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "consumer-autoscaler.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "consumer-autoscaler.selectorLabels" -}}
app.kubernetes.io/name: {{ include "consumer-autoscaler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "consumer-autoscaler.labels" -}}
{{ include "consumer-autoscaler.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* (list $ NAME [MORE]): an object's metadata. MORE is a dict of namespace, labels and annotations, each optional */ -}}
{{- define "consumer-autoscaler.metadata" -}}
{{- $ := index . 0 -}}
{{- $more := len . | eq 3 | ternary (last .) dict -}}
name: {{ index . 1 }}
{{- with $more.namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "consumer-autoscaler.labels" $ | nindent 2 }}
  {{- with $more.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict $more.annotations) $.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The same in the operator's namespace, or in MORE's */ -}}
{{- define "consumer-autoscaler.namespacedMetadata" -}}
{{- $ := index . 0 -}}
{{- $more := len . | eq 3 | ternary (last .) dict -}}
{{- $namespace := default (include "consumer-autoscaler.namespace" $) $more.namespace -}}
{{- include "consumer-autoscaler.metadata" (list $ (index . 1) (merge (dict "namespace" $namespace) $more)) }}
{{- end }}

{{- /* (list $ ROLE): the role in all namespaces, or in those that are served */ -}}
{{- define "consumer-autoscaler.binding" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}
{{- range $namespace := default (list "") $.Values.watchNamespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if $namespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  {{- include "consumer-autoscaler.metadata" (list $ $role (dict "namespace" $namespace)) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
- kind: ServiceAccount
  name: {{ include "consumer-autoscaler.serviceAccountName" $ }}
  namespace: {{ include "consumer-autoscaler.namespace" $ }}
{{- end }}
{{- end }}

{{- /* What all pods have: whose rights, where they run, how they are confined, their volumes */ -}}
{{- define "consumer-autoscaler.pod" -}}
serviceAccountName: {{ include "consumer-autoscaler.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
enableServiceLinks: false
{{- range $key := list "imagePullSecrets" "priorityClassName" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "dnsConfig" }}
{{- with index $.Values $key }}
{{ $key }}: {{- if kindIs "string" . }} {{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- if ne .Values.hostUsers nil }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
- name: tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What all containers have: the image, how they are confined, what is mounted */ -}}
{{- define "consumer-autoscaler.container" -}}
{{- with .Values.image }}
image: {{ printf "%s/%s" .registry .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
{{ toYaml . }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* (list $ MONITOR): what the endpoint of a ServiceMonitor and of a PodMonitor have in common */ -}}
{{- define "consumer-autoscaler.endpoint" -}}
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
